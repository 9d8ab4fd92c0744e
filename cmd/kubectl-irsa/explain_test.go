package main

import (
	"strings"
	"testing"
)

func TestExplain(t *testing.T) {
	const dir = "testdata/explain/"
	for name, lines := range map[string][]string{
		"explain a pod":                 {"explain " + dir + "pod.yaml -f " + dir + "serviceaccount.yaml"},
		"explain output pod":            {"explain " + dir + "pod.yaml -f " + dir + "serviceaccount.yaml -o yaml"},
		"explain workloads":             {"explain " + dir + "workloads.yaml -n shop"},
		"explain output list":           {"explain " + dir + "workloads.yaml -n shop -o json"},
		"explain missing input":         {"explain " + dir + "pod.yaml", "explain " + dir + "pod.yaml -o yaml"},
		"explain with settings":         {"explain " + dir + "workloads.yaml -n shop --token-audience sts.example.com --aws-default-region eu-west-1 --sts-regional-endpoint --token-expiration 3600"},
		"explain annotation prefix":     {"explain " + dir + "pod.yaml -f " + dir + "serviceaccount.yaml --annotation-prefix irsa.example.com"},
		"explain skips invalid entries": {"explain " + dir + "pod.yaml -f " + dir + "serviceaccount.yaml -f " + dir + "configmap.yaml"},
		"explain role not permitted": {
			"explain " + dir + "pod.yaml -f " + dir + "serviceaccount.yaml -f " + dir + "namespace.yaml --role-policy on",
			"explain " + dir + "pod.yaml -f " + dir + "serviceaccount.yaml --role-policy on",
		},
		"explain invalid input": {
			"explain", "explain " + dir + "absent.yaml", "explain " + dir + "serviceaccount.yaml", "explain " + dir + "broken.yaml",
			"explain " + dir + "mistyped.yaml", "explain -", "explain " + dir + "pod.yaml --token-audience= --token-mount-path x",
			"explain " + dir + "pod.yaml --compose-role-arn",
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench()
			var output strings.Builder
			for _, line := range lines {
				output.WriteString(b.run(t, line) + "\n")
			}
			golden(t, name, output.String())
			if mustHideValues := !strings.Contains(strings.Join(lines, ""), "-o "); mustHideValues && strings.Contains(output.String(), "hunter2") {
				t.Error("got a value of the environment in the output")
			}
		})
	}
}
