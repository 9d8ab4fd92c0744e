package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/version"
)

// buildInfo returns the metric with the build of the program as labels.
func buildInfo(b version.Build) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "pod_identity_webhook_build_info",
		Help: "Always 1, with the version, commit and Go version of the build as labels. Compare the labels if replicas of one Deployment behave differently.",
		ConstLabels: prometheus.Labels{
			"version": b.Version, "commit": b.Commit, "goversion": b.GoVersion,
		},
	}, func() float64 { return 1 })
}
