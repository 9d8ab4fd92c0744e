package main

import (
	"errors"
	"log/slog"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pod-identity-webhook/pod-identity-webhook/certs"
	"github.com/pod-identity-webhook/pod-identity-webhook/internal/httpserver"
)

// allNames in --client-ca-allowed-names allows any name.
const allNames = "*"

// newClients returns the restriction of clients that the flags configure, and adds the
// reloader of the client CA to parts. It returns an error if the client CA is invalid.
func newClients(config config, logger *slog.Logger, metrics prometheus.Registerer, parts *components) (httpserver.ClientAuth, error) {
	if config.clientCAFile == "" {
		return httpserver.ClientAuth{}, nil
	}
	ca, err := certs.NewClientCA(config.clientCAFile, logger, metrics)
	if err != nil {
		return httpserver.ClientAuth{}, err
	}
	parts.add(ca.Run, nil)
	clients := httpserver.ClientAuth{Roots: ca.Roots, AllowedNames: config.clientCANames}
	if slices.Contains(config.clientCANames, allNames) {
		clients.AllowedNames = nil
	}
	return clients, nil
}

// validateClientNames returns an error for an empty list, which would otherwise mean that
// any name is allowed.
func validateClientNames(names []string) error {
	if len(names) == 0 || slices.Contains(names, "") {
		return errors.New("--client-ca-allowed-names must not be empty: use names such as kube-apiserver, or * for any certificate of the CA")
	}
	return nil
}
