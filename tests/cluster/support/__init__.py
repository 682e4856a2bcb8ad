"""What the tests on a cluster share: access to its API and its servers, waiting, load, reports."""
