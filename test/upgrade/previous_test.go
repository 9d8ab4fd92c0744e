package upgrade_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	admissionregistrationv1ac "k8s.io/client-go/applyconfigurations/admissionregistration/v1"
	"sigs.k8s.io/yaml"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/chart"
)

// TestUpgrade_previousReleaseAndBack upgrades the previous release with helm and goes back to
// it. Pods are created in each intermediate state: after helm, while replicas of one
// version run with the other's objects, and with replicas of both.
func TestUpgrade_previousReleaseAndBack(t *testing.T) {
	this := version{chart.Path(), file(t, "WEBHOOK")}
	previous := version{file(t, "PREVIOUS_CHART"), file(t, "PREVIOUS_WEBHOOK")}
	for name, values := range map[string][]string{
		"certificates for months": nil,
		// A CA is replaced every 40 seconds, so in some of the states.
		"certificates for seconds": {"certificates.caLifetime=60s", "certificates.certLifetime=20s"},
	} {
		t.Run(name, func(t *testing.T) {
			client := newClient(t)
			r := install(t, client, "webhook", previous, append([]string{"failurePolicy=Fail"}, values...)...)
			load := startLoad(t, client)
			load.step(t, "previous release")

			r.helm("upgrade", this.chart)
			load.step(t, "previous release, objects of this one")
			r.rollOut(this, func() error {
				load.step(t, "replicas are replaced by this release")
				return nil
			})
			r.deleteSecret()
			load.step(t, "this release, after its Secret was deleted")

			r.prepareWayBack(previous)
			r.helm("upgrade", previous.chart)
			load.step(t, "this release, objects of the previous one")
			first := true
			r.rollOut(previous, func() error {
				load.step(t, "replicas are replaced by the previous release")
				if first {
					first = false
					r.deleteSecret()
					load.step(t, "replicas of both, after their Secret was deleted")
				}
				return nil
			})
			load.step(t, "previous release again")

			r.helm("upgrade", this.chart)
			r.rollOut(this, func() error {
				load.step(t, "replicas are replaced by this release again")
				return nil
			})
			load.stop(t)
		})
	}
}

// deleteSecret deletes the Secret of certificates and waits until it is restored.
func (r *release) deleteSecret() {
	r.t.Helper()
	secrets := r.client.CoreV1().Secrets(r.namespace)
	name := r.secretName()
	before, err := secrets.Get(r.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	if err := secrets.Delete(r.t.Context(), name, metav1.DeleteOptions{}); err != nil {
		r.t.Fatal(err)
	}
	eventually(r.t, "the Secret is restored", func(ctx context.Context) error {
		now, err := secrets.Get(ctx, name, metav1.GetOptions{})
		if err == nil && (now.UID == before.UID || len(now.Data["ca.key"]) == 0) {
			err = errors.New("the Secret is not restored")
		}
		return err
	})
}

// prepareWayBack runs the steps in docs/install.md for a downgrade to a release with another
// name of the webhook configuration or its webhooks. They get the caBundle before the API
// server calls them.
func (r *release) prepareWayBack(to version) {
	r.t.Helper()
	configurations := r.client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	all, err := configurations.List(r.t.Context(), metav1.ListOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	var client *admissionregistrationv1.WebhookClientConfig
	for _, configuration := range all.Items {
		if found := configuration.Webhooks[0].ClientConfig; found.Service != nil && found.Service.Namespace == r.namespace {
			client = &found
		}
	}
	if client == nil {
		r.t.Fatal("got no configuration with the webhook")
	}
	earlier := r.configuration(to)
	apply := admissionregistrationv1ac.MutatingWebhookConfiguration(earlier.Name).
		WithLabels(map[string]string{"app.kubernetes.io/managed-by": "Helm"}).
		WithAnnotations(map[string]string{"meta.helm.sh/release-name": r.name, "meta.helm.sh/release-namespace": r.namespace})
	for _, webhook := range earlier.Webhooks {
		// Without rules, the API server does not call it.
		apply.WithWebhooks(admissionregistrationv1ac.MutatingWebhook().WithName(webhook.Name).
			WithSideEffects(admissionregistrationv1.SideEffectClassNone).WithAdmissionReviewVersions("v1").
			WithClientConfig(admissionregistrationv1ac.WebhookClientConfig().WithCABundle(client.CABundle...).
				WithService(admissionregistrationv1ac.ServiceReference().WithNamespace(client.Service.Namespace).WithName(client.Service.Name))))
	}
	if _, err := configurations.Apply(r.t.Context(), apply, metav1.ApplyOptions{FieldManager: "operator"}); err != nil {
		r.t.Fatal(err)
	}
}

// configuration returns the MutatingWebhookConfiguration of a version.
func (r *release) configuration(v version) *admissionregistrationv1.MutatingWebhookConfiguration {
	r.t.Helper()
	rendered, err := r.run(r.t.Context(), "template", r.name, v.chart)
	if err != nil {
		r.t.Fatalf("helm template: %v\n%s", err, rendered)
	}
	for document := range strings.SplitSeq(rendered, "\n---\n") {
		var found admissionregistrationv1.MutatingWebhookConfiguration
		if err := yaml.Unmarshal([]byte(document), &found); err == nil && found.Kind == "MutatingWebhookConfiguration" {
			return &found
		}
	}
	r.t.Fatal("the chart has no MutatingWebhookConfiguration")
	return nil
}
