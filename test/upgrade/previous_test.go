package upgrade_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/chart"
)

// TestUpgrade_previousReleaseAndBack upgrades the previous release with helm and
// goes back to it. In each state on the way pods are created: after helm, when
// replicas of the one version serve with the objects of the other, and with
// replicas of both.
func TestUpgrade_previousReleaseAndBack(t *testing.T) {
	this := version{chart.Path(), file(t, "WEBHOOK")}
	previous := version{file(t, "PREVIOUS_CHART"), file(t, "PREVIOUS_WEBHOOK")}
	for name, values := range map[string][]string{
		"certificates of months": nil,
		// A CA is replaced every 40 seconds, and so in any of the states.
		"certificates of seconds": {"certificates.caLifetime=60s", "certificates.certLifetime=20s"},
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

			copyConfigurations(t, client, r, previous)
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

// deleteSecret deletes the Secret of certificates and waits until it is there
// again.
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
			err = errors.New("it is not")
		}
		return err
	})
}

// copyConfigurations does what docs/installing.md says for a way back to a release
// whose webhook configurations have other names: the copies are called before
// anything serves them alone.
func copyConfigurations(t *testing.T, client kubernetes.Interface, r *release, to version) {
	t.Helper()
	configurations := client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	var current *admissionregistrationv1.MutatingWebhookConfiguration
	all, err := configurations.List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i, configuration := range all.Items {
		if service := configuration.Webhooks[0].ClientConfig.Service; service != nil && service.Namespace == r.namespace {
			current = &all.Items[i]
		}
	}
	if current == nil {
		t.Fatal("no configuration calls the webhook")
	}
	name := configurationName(t, r, to)
	if name == current.Name {
		return
	}
	_, err = configurations.Create(t.Context(), &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: current.Labels, Annotations: current.Annotations},
		Webhooks:   current.Webhooks,
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// configurationName returns the name that a version gives to the
// MutatingWebhookConfiguration.
func configurationName(t *testing.T, r *release, v version) string {
	t.Helper()
	rendered, err := r.run(t.Context(), "template", r.name, v.chart)
	if err != nil {
		t.Fatalf("helm template: %v\n%s", err, rendered)
	}
	for _, document := range strings.Split(rendered, "\n---\n") {
		var object metav1.PartialObjectMetadata
		if err := yaml.Unmarshal([]byte(document), &object); err != nil {
			t.Fatal(err)
		}
		if object.Kind == "MutatingWebhookConfiguration" {
			return object.Name
		}
	}
	t.Fatal("the chart has no MutatingWebhookConfiguration")
	return ""
}
