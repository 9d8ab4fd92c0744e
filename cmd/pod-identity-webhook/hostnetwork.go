package main

import (
	"bufio"
	"os"
)

// hostsFile is the file that the kubelet mounts into each container, unless the pod mounts
// something else there.
const hostsFile = "/etc/hosts"

// hostNetworkMark is the first line that the kubelet writes into the hosts file of a
// pod with hostNetwork (managedHostsHeaderWithHostNetwork in
// k8s.io/kubernetes/pkg/kubelet/kubelet_pods.go).
const hostNetworkMark = "# Kubernetes-managed hosts file (host network)."

// onHostNetwork reports whether the process runs in a pod with hostNetwork,
// according to the kubelet's hosts file. It reports false outside of a pod.
func onHostNetwork(hostsFile string) bool {
	file, err := os.Open(hostsFile) //nolint:gosec // the path is a constant
	if err != nil {
		return false
	}
	defer func() { _ = file.Close() }()
	lines := bufio.NewScanner(file)
	return lines.Scan() && lines.Text() == hostNetworkMark
}
