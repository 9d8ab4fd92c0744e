package main

import (
	"errors"
	"log/slog"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pod-identity-webhook/pod-identity-webhook/certs"
	"github.com/pod-identity-webhook/pod-identity-webhook/internal/httpserver"
)

// allNames stands for all in --client-ca-allowed-names.
const allNames = "*"

// newClients says who may ask, and adds what keeps that current to the parts.
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

// validateClientNames refuses a list that no name can be in: it would be taken for
// one that permits all.
func validateClientNames(names []string) error {
	if len(names) == 0 || slices.Contains(names, "") {
		return errors.New("--client-ca-allowed-names must not be empty: it must be names such as kube-apiserver, or * for any certificate of the CA")
	}
	return nil
}
