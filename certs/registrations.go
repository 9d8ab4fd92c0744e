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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	admissionregistrationv1client "k8s.io/client-go/kubernetes/typed/admissionregistration/v1"
)

// registration is a webhook configuration, as far as certificates are concerned.
type registration struct {
	name, resourceVersion string
	webhooks              []registered
	// patch writes to the configuration.
	patch func(ctx context.Context, patch []byte) error
}

// registered is a webhook of a configuration.
type registered struct {
	name   string
	client admissionregistrationv1.WebhookClientConfig
}

// registrations reads the configurations of both kinds that have the name, and
// keeps of their webhooks those that call the Service. That a configuration does
// not exist is no error: then no API server calls us by it.
func registrations(ctx context.Context, client admissionregistrationv1client.AdmissionregistrationV1Interface, name string, service types.NamespacedName) ([]registration, error) {
	var found []registration
	var failed []error
	add := func(kind string, r registration, err error) {
		switch {
		case apierrors.IsNotFound(err):
		case err != nil:
			failed = append(failed, fmt.Errorf("read %s %s: %w", kind, name, err))
		default:
			r.name = kind + " " + name
			r.webhooks = slices.DeleteFunc(r.webhooks, func(w registered) bool {
				s := w.client.Service
				return s == nil || s.Namespace != service.Namespace || s.Name != service.Name
			})
			found = append(found, r)
		}
	}

	mutating := client.MutatingWebhookConfigurations()
	m, err := mutating.Get(ctx, name, metav1.GetOptions{})
	r := registration{patch: func(ctx context.Context, patch []byte) error {
		_, err := mutating.Patch(ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
		return err
	}}
	if err == nil {
		r.resourceVersion = m.ResourceVersion
		for _, w := range m.Webhooks {
			r.webhooks = append(r.webhooks, registered{w.Name, w.ClientConfig})
		}
	}
	add("MutatingWebhookConfiguration", r, err)

	validating := client.ValidatingWebhookConfigurations()
	v, err := validating.Get(ctx, name, metav1.GetOptions{})
	r = registration{patch: func(ctx context.Context, patch []byte) error {
		_, err := validating.Patch(ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
		return err
	}}
	if err == nil {
		r.resourceVersion = v.ResourceVersion
		for _, w := range v.Webhooks {
			r.webhooks = append(r.webhooks, registered{w.Name, w.ClientConfig})
		}
	}
	add("ValidatingWebhookConfiguration", r, err)
	return found, errors.Join(failed...)
}

// publish writes the bundle into each webhook that has another. It says whether
// there was one. The patch names nothing but the caBundle, and holds only for
// the version that was read.
func (r registration) publish(ctx context.Context, bundle []byte) (written bool, err error) {
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
		if !bytes.Equal(w.client.CABundle, bundle) {
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

// publishedIn returns the CAs that all webhooks of the registrations trust, and
// whether there is a webhook.
func publishedIn(all []registration) (trusted []*x509.Certificate, called bool) {
	for _, r := range all {
		for _, w := range r.webhooks {
			// A bundle that is no PEM trusts nobody.
			bundle, _ := parseAuthorities(w.client.CABundle)
			if !called {
				trusted, called = bundle, true
				continue
			}
			trusted = slices.DeleteFunc(trusted, func(ca *x509.Certificate) bool {
				return !slices.ContainsFunc(bundle, ca.Equal)
			})
		}
	}
	return trusted, called
}
