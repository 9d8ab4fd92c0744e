package certs

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
)

// fieldManager is who the API server's record of fields names.
const fieldManager = "pod-identity-webhook"

const (
	repairedSecret = "secret"
	repairedBundle = "ca_bundle"
)

// upkeepTimeout bounds one run of the upkeep, a handful of calls.
const upkeepTimeout = 20 * time.Second

// upkeep looks at the Secret and the webhook configurations, does what is due,
// and serves the certificate that the Secret then holds. It reads both live,
// not as a watch has them: it must not publish what is stale.
func (a *Authority) upkeep(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, upkeepTimeout)
	defer cancel()
	// In this order: whoever publishes after this read has the patch below conflict,
	// and so the Secret is not older than what the patch replaces.
	configurations, unread := registrations(ctx, a.configurations, a.config.WebhookConfiguration, a.config.Service)
	secret, err := a.readSecret(ctx)
	if err != nil {
		return err
	}
	trusted, called := publishedIn(configurations)
	if unread == nil {
		a.publication.see(trusted, a.config.Now())
	}

	start, fault := a.start(secret, trusted)
	next, changes, err := a.planner.plan(start, a.clock.now(), func(ca *x509.Certificate) bool {
		return unread == nil && (!called || a.publication.lasts(ca, a.config.Now(), a.planner.publishAfter))
	})
	if err != nil {
		return err
	}
	if fault != nil || len(changes) > 0 || len(next.authorities) != len(start.authorities) {
		if err := a.write(ctx, secret, next); err != nil {
			return fmt.Errorf("write Secret %s: %w", a.secretName(), err)
		}
		a.tell(ctx, secret, next, fault, changes)
	}
	a.good = next
	a.current.Store(next.serving)
	if err := errors.Join(unread, a.publish(ctx, configurations, next.bundle())); err != nil {
		return err
	}
	a.setReady(nil)
	return nil
}

// readSecret returns nil if there is none.
func (a *Authority) readSecret(ctx context.Context) (*corev1.Secret, error) {
	secret, err := a.secrets.Get(ctx, a.config.Secret, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil //nolint:nilnil // absence is no error
	case err != nil:
		return nil, fmt.Errorf("read Secret %s: %w", a.secretName(), err)
	}
	return secret, nil
}

// start returns what to plan from, and what is wrong with the Secret. What was
// good before beats what is left of a Secret that was spoilt, so that nobody
// has to learn to trust another CA.
func (a *Authority) start(secret *corev1.Secret, trusted []*x509.Certificate) (start content, fault error) {
	if secret == nil {
		fault = errors.New("it does not exist")
	} else {
		start, fault = parse(secret.Data, a.planner.names)
	}
	if a.good.serving != nil && valid(a.good.serving.Leaf, a.clock.now()) {
		if inUse := a.good.issuer(); fault == nil && !contains(trusted, start.issuer()) &&
			(contains(trusted, inUse) || !contains(start.authorities, inUse)) {
			fault = errors.New("its certificate is of a CA that nobody trusts, other than the one in use")
		}
		if fault != nil {
			return a.good, fault
		}
	}
	if len(start.authorities) == 0 {
		// Whoever served under these until now may go on for a while.
		start.authorities = trusted
	}
	return start, fault
}

// write makes the Secret hold c, if it still is what was read: nothing, or
// secret. It touches nothing else that is in it. A conflict is an error for
// which apierrors.IsConflict is true.
func (a *Authority) write(ctx context.Context, secret *corev1.Secret, c content) error {
	data, err := c.data()
	if err != nil {
		return err
	}
	if secret == nil {
		// The type is that of the chart's Secret: it could not be changed later.
		// An apply is what RBAC can permit for a Secret of one name, where a
		// create can only be permitted for all. It conflicts with that of
		// another replica, since no two share a field manager.
		_, err := a.secrets.Apply(ctx,
			corev1ac.Secret(a.config.Secret, a.config.Service.Namespace).WithType(corev1.SecretTypeOpaque).WithData(data),
			metav1.ApplyOptions{FieldManager: fieldManager + "-" + string(uuid.NewUUID())})
		return err
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": secret.ResourceVersion},
		"data":     data,
	})
	if err != nil {
		return err
	}
	_, err = a.secrets.Patch(ctx, a.config.Secret, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
	return err
}

// publish makes the bundle the caBundle of all webhooks.
func (a *Authority) publish(ctx context.Context, configurations []registration, bundle []byte) error {
	var failed []error
	for _, r := range configurations {
		written, err := r.publish(ctx, bundle)
		switch {
		case err != nil:
			failed = append(failed, err)
		case written && bytes.Equal(a.bundles[r.name], bundle):
			a.metrics.repairs.WithLabelValues(repairedBundle).Inc()
			a.config.Logger.WarnContext(ctx, "somebody else had changed the caBundle, it is right again", "object", r.name)
		case written:
			a.config.Logger.InfoContext(ctx, "caBundle published", "object", r.name)
		}
		if err == nil {
			a.bundles[r.name] = bundle
		}
	}
	return errors.Join(failed...)
}

// tell logs and counts what was written to the Secret.
func (a *Authority) tell(ctx context.Context, secret *corev1.Secret, c content, fault error, changes []change) {
	if fault != nil && (a.good.serving != nil || secret != nil && len(secret.Data) > 0) {
		a.metrics.repairs.WithLabelValues(repairedSecret).Inc()
		a.config.Logger.WarnContext(ctx, "the Secret of certificates could not be used, it is right again",
			"secret", a.secretName(), "fault", fault)
	}
	for _, made := range changes {
		a.metrics.rotations.WithLabelValues(string(made)).Inc()
		expiry := c.serving.Leaf.NotAfter
		if made == newAuthority {
			expiry = c.authorities[0].NotAfter
		}
		a.config.Logger.InfoContext(ctx, "certificate made", "kind", made, "secret", a.secretName(), "expiry", expiry.UTC())
	}
}

func (a *Authority) secretName() string { return a.config.Service.Namespace + "/" + a.config.Secret }

func (a *Authority) setReady(amiss error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.notReady = amiss
}

// fail tells of a fault once. It is not a reason to be not ready once API servers
// have been able to call: they go on with what they trust.
func (a *Authority) fail(ctx context.Context, err error) {
	a.metrics.errors.Inc()
	if a.alarm != err.Error() {
		a.alarm = err.Error()
		a.config.Logger.WarnContext(ctx, "certificates cannot be kept up, trying again", "error", err, "expiry", a.expiry().UTC())
	}
	if a.Valid() != nil {
		a.setReady(fmt.Errorf("the serving certificate is not made or not published yet: %w", err))
	}
}

func (a *Authority) recover(ctx context.Context) {
	if a.alarm != "" {
		a.alarm = ""
		a.config.Logger.InfoContext(ctx, "certificates are kept up again")
	}
}
