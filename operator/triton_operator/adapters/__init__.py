"""The world outside: claims, HTTP, Kubernetes, Triton. Nothing is imported here."""
