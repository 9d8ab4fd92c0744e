package main

import (
	"context"
	"fmt"
	"strings"

	"sigs.k8s.io/kind/pkg/apis/config/defaults"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/kind/engine"
)

// prepare finds the container engine and the node image. It returns an error with the
// fix for what is missing, before anything is created.
func (c *cluster) prepare(ctx context.Context) error {
	if err := c.selectEngine(ctx); err != nil {
		return err
	}
	if err := c.ensureNodeImage(ctx); err != nil {
		return err
	}
	return c.engine.StartNode(ctx, c.nodeImage)
}

// selectEngine finds the container engine once.
func (c *cluster) selectEngine(ctx context.Context) (err error) {
	if c.engine != "" {
		return nil
	}
	if c.engine, err = engine.Select(ctx); err != nil {
		return fmt.Errorf("%w\n\twithout a container engine, run `make demo`: it shows the injection on a real API server without nodes", err)
	}
	return nil
}

// ensureNodeImage chooses the node image, if the user has not. That is the image of
// make kind-image if the engine has it, or else the published image of kind. It pulls the
// image if the engine does not have it.
func (c *cluster) ensureNodeImage(ctx context.Context) error {
	switch {
	case c.nodeImage != "":
	case c.engine.HasImage(ctx, c.builtNodeImage):
		c.nodeImage = c.builtNodeImage
	default:
		c.nodeImage = published()
	}
	fmt.Fprintf(c.Out, "container engine: %s\nnode image:       %s\n", c.engine, c.nodeImage)
	if c.engine.HasImage(ctx, c.nodeImage) {
		return nil
	}
	if err := c.engine.Run(ctx, c.Out, "pull", c.nodeImage); err != nil {
		return fmt.Errorf("pull the node image of kind: %w; without access to its registry, run `make kind-image`, which builds one", err)
	}
	return nil
}

// published returns the default node image of kind with its registry and its digest. It
// omits the tag, because older versions of podman reject a name with tag and digest.
func published() string {
	repository, digest, _ := strings.Cut(defaults.Image, "@")
	repository, _, _ = strings.Cut(repository, ":")
	return "docker.io/" + repository + "@" + digest
}
