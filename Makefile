# The image of tsidp-server, for one platform or, with buildx, several:
#
#	make docker-image
#	make docker-image IMAGE=registry.example/tsidp DOCKER_BUILD="docker buildx build --platform linux/amd64,linux/arm64 --push"
IMAGE ?= tsidp
DOCKER_BUILD ?= docker build

.PHONY: docker-image
docker-image:
	$(DOCKER_BUILD) -t $(IMAGE) .
