package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/version"
)

// buildInfo is the metric that joins a build to the other metrics.
func buildInfo(b version.Build) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "pod_identity_webhook_build_info",
		Help: "Always 1. Its labels say which build runs: look here first when replicas of one Deployment behave differently.",
		ConstLabels: prometheus.Labels{
			"version": b.Version, "commit": b.Commit, "goversion": b.GoVersion,
		},
	}, func() float64 { return 1 })
}
