package certs

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	admissionregistrationv1client "k8s.io/client-go/kubernetes/typed/admissionregistration/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/objectcache"
)

// webhookConfig is the part of a webhook configuration that concerns certificates.
type webhookConfig struct {
	name, resourceVersion string
	webhooks              []webhookEntry
	// patch writes to the configuration.
	patch func(ctx context.Context, patch []byte) error
}

// webhookEntry is a webhook of a configuration.
type webhookEntry struct {
	name   string
	client admissionregistrationv1.WebhookClientConfig
	bundle bundle
}

// readWebhookConfigs reads the configurations of both kinds that have the name. It
// returns only their webhooks that call the Service. A configuration that does not
// exist is not an error, because then API servers call no webhook of it. If one of the
// reads fails, readWebhookConfigs returns the result of the other with the error.
func readWebhookConfigs(ctx context.Context, client admissionregistrationv1client.AdmissionregistrationV1Interface, name string, service types.NamespacedName) ([]webhookConfig, error) {
	mutating, mutatingErr := read(ctx, client.MutatingWebhookConfigurations(), "MutatingWebhookConfiguration", name, service,
		func(c *admissionregistrationv1.MutatingWebhookConfiguration) (all []webhookEntry) {
			for _, w := range c.Webhooks {
				all = append(all, webhookEntry{w.Name, w.ClientConfig, parseBundle(w.ClientConfig.CABundle)})
			}
			return all
		})
	validating, validatingErr := read(ctx, client.ValidatingWebhookConfigurations(), "ValidatingWebhookConfiguration", name, service,
		func(c *admissionregistrationv1.ValidatingWebhookConfiguration) (all []webhookEntry) {
			for _, w := range c.Webhooks {
				all = append(all, webhookEntry{w.Name, w.ClientConfig, parseBundle(w.ClientConfig.CABundle)})
			}
			return all
		})
	return append(mutating, validating...), errors.Join(mutatingErr, validatingErr)
}

// webhookConfigClient is a client of one of the two kinds.
type webhookConfigClient[Configuration metav1.Object] interface {
	Get(ctx context.Context, name string, options metav1.GetOptions) (Configuration, error)
	Patch(ctx context.Context, name string, kind types.PatchType, patch []byte, options metav1.PatchOptions, subresources ...string) (Configuration, error)
}

// read returns the configuration with the name, or none if it does not exist.
func read[Configuration metav1.Object](ctx context.Context, client webhookConfigClient[Configuration], kind, name string, service types.NamespacedName, webhooks func(Configuration) []webhookEntry) ([]webhookConfig, error) {
	configuration, err := client.Get(ctx, name, metav1.GetOptions{})
	switch {
	case objectcache.IsNotFound(err, name):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read %s %s: %w", kind, name, err)
	}
	selected := slices.DeleteFunc(webhooks(configuration), func(w webhookEntry) bool {
		s := w.client.Service
		return s == nil || s.Namespace != service.Namespace || s.Name != service.Name
	})
	return []webhookConfig{{
		name: kind + " " + name, resourceVersion: configuration.GetResourceVersion(), webhooks: selected,
		patch: func(ctx context.Context, patch []byte) error {
			_, err := client.Patch(ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
			return err
		},
	}}, nil
}

// publish writes the caBundle of each webhook whose caBundle differs from the desired
// one. It reports whether there was one. The patch changes only the caBundle, and
// fails if the configuration has changed since it was read.
func (r webhookConfig) publish(ctx context.Context, published []*x509.Certificate, removed func(fingerprint string) bool) (written bool, err error) {
	type webhook struct {
		Name         string `json:"name"`
		ClientConfig struct {
			CABundle []byte `json:"caBundle"`
		} `json:"clientConfig"`
	}
	var patch struct {
		Metadata struct {
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
		Webhooks []webhook `json:"webhooks"`
	}
	for _, w := range r.webhooks {
		if bundle := w.bundle.with(published, removed); !bytes.Equal(w.client.CABundle, bundle) {
			changed := webhook{Name: w.name}
			changed.ClientConfig.CABundle = bundle
			patch.Webhooks = append(patch.Webhooks, changed)
		}
	}
	if len(patch.Webhooks) == 0 {
		return false, nil
	}
	patch.Metadata.ResourceVersion = r.resourceVersion
	encoded, err := json.Marshal(patch)
	if err != nil {
		return false, fmt.Errorf("encode the caBundle of %s: %w", r.name, err)
	}
	if err := r.patch(ctx, encoded); err != nil {
		return false, fmt.Errorf("write the caBundle of %s: %w", r.name, err)
	}
	return true, nil
}

// lacks reports whether a webhook does not trust one of the CAs.
func (r webhookConfig) lacks(published []*x509.Certificate) bool {
	return slices.ContainsFunc(r.webhooks, func(w webhookEntry) bool {
		return slices.ContainsFunc(published, func(ca *x509.Certificate) bool { return !contains(w.bundle.certificates(), ca) })
	})
}

// bundles returns the caBundles of all webhooks of the configurations.
func bundles(all []webhookConfig) []bundle {
	var found []bundle
	for _, r := range all {
		for _, w := range r.webhooks {
			found = append(found, w.bundle)
		}
	}
	return found
}
