# The test cluster (tests/cluster). Included by the Makefile at the repository's root.

.PHONY: cluster-up cluster-down cluster-status images servers

cluster-up: ## Start the test cluster, or bring its images up to date
	python3 -m tests.cluster up

cluster-down: ## End the test cluster and remove all it left
	python3 -m tests.cluster down

cluster-status: ## Say what of the test cluster runs
	python3 -m tests.cluster status

servers: ## Install the real servers that tests/wire talks to, perf_analyzer, Prometheus and others
	python3 -m tests.cluster servers

images: ## Build the operator's image and the test image with Triton
	python3 -m tests.cluster images
