// Package integrations has only tests: what the chart gives to Prometheus, to its
// operator and to cert-manager is judged by their own code.
package integrations
