// Package integrations has only tests. They validate the chart's objects for Prometheus, its
// operator and cert-manager with these projects' own code.
package integrations
