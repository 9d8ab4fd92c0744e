package main

import (
	"errors"
	"log/slog"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pod-identity-webhook/pod-identity-webhook/certs"
	"github.com/pod-identity-webhook/pod-identity-webhook/internal/httpserver"
)

// anyName stands for all in --client-ca-allowed-names.
const anyName = "*"

// newClients says who may ask, and adds what keeps that current to the parts.
func newClients(config config, logger *slog.Logger, metrics prometheus.Registerer, parts *parts) (httpserver.Clients, error) {
	if config.clientCAFile == "" {
		return httpserver.Clients{}, nil
	}
	ca, err := certs.NewClientCA(config.clientCAFile, logger, metrics)
	if err != nil {
		return httpserver.Clients{}, err
	}
	parts.add(ca.Run, nil)
	clients := httpserver.Clients{Roots: ca.Roots, Names: config.clientCANames}
	if slices.Contains(config.clientCANames, anyName) {
		clients.Names = nil
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
