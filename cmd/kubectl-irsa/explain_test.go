package main

import (
	"strings"
	"testing"
)

func TestExplain(t *testing.T) {
	const dir = "testdata/explain/"
	for name, lines := range map[string][]string{
		"explain a pod":                 {"explain " + dir + "pod.yaml -f " + dir + "serviceaccount.yaml"},
		"explain prints the pod":        {"explain " + dir + "pod.yaml -f " + dir + "serviceaccount.yaml -o yaml"},
		"explain workloads":             {"explain " + dir + "workloads.yaml -n shop"},
		"explain prints several pods":   {"explain " + dir + "workloads.yaml -n shop -o json"},
		"explain does not know":         {"explain " + dir + "pod.yaml", "explain " + dir + "pod.yaml -o yaml"},
		"explain with settings":         {"explain " + dir + "workloads.yaml -n shop --token-audience sts.example.com --aws-default-region eu-west-1 --sts-regional-endpoint --token-expiration 3600"},
		"explain with another prefix":   {"explain " + dir + "pod.yaml -f " + dir + "serviceaccount.yaml --annotation-prefix irsa.example.com"},
		"explain skips invalid entries": {"explain " + dir + "pod.yaml -f " + dir + "serviceaccount.yaml -f " + dir + "configmap.yaml"},
		"explain a role that is not permitted": {
			"explain " + dir + "pod.yaml -f " + dir + "serviceaccount.yaml -f " + dir + "namespace.yaml --role-policy on",
			"explain " + dir + "pod.yaml -f " + dir + "serviceaccount.yaml --role-policy on",
		},
		"explain says what is wrong": {
			"explain", "explain " + dir + "absent.yaml", "explain " + dir + "serviceaccount.yaml", "explain " + dir + "broken.yaml",
			"explain " + dir + "mistyped.yaml", "explain -", "explain " + dir + "pod.yaml --token-audience= --token-mount-path x",
			"explain " + dir + "pod.yaml --compose-role-arn",
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench()
			var said strings.Builder
			for _, line := range lines {
				said.WriteString(b.run(t, line) + "\n")
			}
			golden(t, name, said.String())
			if quotesValues := !strings.Contains(strings.Join(lines, ""), "-o "); quotesValues && strings.Contains(said.String(), "hunter2") {
				t.Error("a value of the environment is shown")
			}
		})
	}
}
