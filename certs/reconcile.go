package certs

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/objectcache"
)

// fieldManager is who the API server's record of fields names.
const fieldManager = "pod-identity-webhook"

// The values of the metrics' labels.
const (
	kindCA         = "ca"
	kindServing    = "serving"
	repairedSecret = "secret"
	repairedBundle = "ca_bundle"
)

// reconcileTimeout bounds one run of the upkeep, a handful of calls.
const reconcileTimeout = 20 * time.Second

// reconcile reads the Secret and the webhook configurations, does what is due, and
// sees to it that a certificate is served which API servers trust. It reads both
// live, not as a watch has them: it must not publish what is stale.
func (a *Rotator) reconcile(ctx context.Context) error {
	if err := a.renew(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, reconcileTimeout)
	defer cancel()
	// In this order: if another replica publishes after this read, the patch below
	// conflicts, and so the Secret is not older than what the patch replaces.
	configurations, unread := readWebhookConfigs(ctx, a.webhookConfigClient, a.config.WebhookConfiguration, a.config.Service)
	secret, err := a.readSecret(ctx)
	if err != nil {
		return err
	}
	seen := observed{bundles: bundles(configurations), incomplete: unread != nil}
	if !seen.incomplete {
		a.trustTracker.observe(seen, a.config.Now())
	}
	published := func(ca *x509.Certificate) bool {
		return !seen.incomplete && (len(seen.bundles) == 0 || a.trustTracker.trustedFor(ca, a.config.Now(), a.planner.publishAfter))
	}

	start, fault := a.currentContent(secret, seen)
	next, newCA, err := a.planner.plan(start, a.clock.now(), seen, published)
	if err != nil {
		return err
	}
	unwritten := a.write(ctx, secret, next)
	switch {
	case unwritten == nil:
		a.report(ctx, secret, next, fault, newCA)
	case apierrors.IsConflict(unwritten) || fault != nil || newCA:
		return unwritten
	}
	// What was not written can wait: other replicas sign with the same CA, or with
	// one that is published.
	a.good = next
	unpublished := errors.Join(unread, a.publish(ctx, configurations, next))
	if err := a.serve(ctx, secret, next, seen, published); err != nil {
		return err
	}
	if unpublished == nil {
		a.setReady(nil)
	}
	return errors.Join(unwritten, unpublished)
}

// renew replaces the serving certificate by another of its CA if that is due. It
// needs no API server.
func (a *Rotator) renew(ctx context.Context) error {
	current, now := a.current.Load(), a.clock.now()
	if current.issuer == nil || now.Before(current.renewal) {
		return nil
	}
	for _, signer := range a.good.signers {
		if signer.certificate.Equal(current.issuer) && valid(signer.certificate, now) {
			return a.sign(ctx, signer)
		}
	}
	return nil
}

// serve replaces the serving certificate if API servers do not trust it, and if
// they trust the CA that is to sign now.
func (a *Rotator) serve(ctx context.Context, secret *corev1.Secret, next secretContent, seen observed, published func(*x509.Certificate) bool) error {
	current, signer := a.current.Load(), next.signers[0]
	if current.issuer == nil {
		// An earlier version makes a CA and serves under the one before, whose key
		// it does not keep, until API servers have had the time to trust the new
		// one. A replica that starts then can only do the same.
		if stored := a.stored(secret, seen); stored != nil && !stored.issuer.Equal(signer.certificate) {
			current = stored
			a.current.Store(current)
		}
	}
	trusted := current.issuer != nil && valid(current.Leaf, a.clock.now()) &&
		(contains(next.published(), current.issuer) || seen.trusts(current.issuer))
	if trusted && (current.issuer.Equal(signer.certificate) || !published(signer.certificate)) {
		return nil
	}
	return a.sign(ctx, signer)
}

// stored returns the serving certificate that an earlier version has put into the
// Secret, and nil if there is none that API servers trust.
func (a *Rotator) stored(secret *corev1.Secret, seen observed) *serving {
	if secret == nil || len(seen.bundles) == 0 {
		return nil
	}
	pair := parseStored(secret.Data, a.planner.names)
	if pair == nil || !valid(pair.Leaf, a.clock.now()) {
		return nil
	}
	for _, ca := range seen.bundles[0].certificates() {
		if seen.trusts(ca) && pair.Leaf.CheckSignatureFrom(ca) == nil {
			return &serving{Certificate: pair, issuer: ca, renewal: pair.Leaf.NotAfter}
		}
	}
	return nil
}

func (a *Rotator) sign(ctx context.Context, signer authority) error {
	made, err := newServingCert(a.clock.now(), a.config.ServingLifetime, a.planner.names, signer)
	if err != nil {
		return err
	}
	a.current.Store(made)
	a.made(ctx, kindServing, made.Leaf)
	return nil
}

// readSecret returns nil if there is none.
func (a *Rotator) readSecret(ctx context.Context) (*corev1.Secret, error) {
	secret, err := a.secrets.Get(ctx, a.config.Secret, metav1.GetOptions{})
	switch {
	case objectcache.IsNotFound(err, a.config.Secret):
		return nil, nil //nolint:nilnil // absence is no error
	case err != nil:
		return nil, fmt.Errorf("read Secret %s: %w", a.secretName(), err)
	}
	return secret, nil
}

// currentContent returns what to plan from, and what is wrong with the Secret. What the
// Secret held before takes precedence over one that was corrupted, so that API
// servers need not trust another CA.
func (a *Rotator) currentContent(secret *corev1.Secret, seen observed) (start secretContent, fault error) {
	if secret == nil {
		fault = errors.New("it does not exist")
	} else {
		start, fault = parseContent(secret.Data)
	}
	if len(a.good.signers) > 0 && valid(a.good.signers[0].certificate, a.clock.now()) {
		if fault == nil && a.replaced(start, secret, seen) {
			fault = errors.New("its CA is one that API servers do not trust, other than the one in use")
		}
		if fault != nil {
			return a.good, fault
		}
	}
	if fault == nil {
		fault = start.foreign(a.clock.now(), seen)
	}
	return start, fault
}

// replaced reports whether somebody has put another CA in the place of the one
// that signs. A replica does that only if API servers trust the new one, if the
// key was removed, or if it records that the one before is retired.
func (a *Rotator) replaced(start secretContent, secret *corev1.Secret, seen observed) bool {
	known := a.good.signers[0].certificate
	if len(start.signers) > 0 {
		if first := start.signers[0].certificate; first.Equal(known) || seen.trusts(first) {
			return false
		}
	}
	_, retired := start.retired[fingerprint(known.Raw)]
	// An earlier version keeps no such record, but a certificate of the one before.
	if contains(start.former, known) && (len(start.signers) == 0 || retired || a.stored(secret, seen) != nil) {
		return false
	}
	return seen.trusts(known) || !start.trusts(known)
}

// write makes the Secret hold c, if it still is what was read: nothing, or
// secret. It changes nothing else that is in it. A conflict is an error for which
// apierrors.IsConflict is true.
func (a *Rotator) write(ctx context.Context, secret *corev1.Secret, c secretContent) error {
	data, err := c.encode()
	if err != nil {
		return err
	}
	if secret == nil {
		maps.DeleteFunc(data, func(_ string, value []byte) bool { return value == nil })
		// The type is that of the chart's Secret: it could not be changed later.
		// An apply is what RBAC can permit for a Secret of one name, where a
		// create can only be permitted for all. It conflicts with that of
		// another replica, since no two share a field manager.
		_, err := a.secrets.Apply(ctx,
			corev1ac.Secret(a.config.Secret, a.config.Service.Namespace).WithType(corev1.SecretTypeOpaque).WithData(data),
			metav1.ApplyOptions{FieldManager: fieldManager + "-" + string(uuid.NewUUID())})
		return a.wrapWrite(err)
	}
	maps.DeleteFunc(data, func(key string, value []byte) bool { return bytes.Equal(secret.Data[key], value) })
	if len(data) == 0 {
		return nil
	}
	// A value of null removes the key.
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": secret.ResourceVersion},
		"data":     data,
	})
	if err != nil {
		return err
	}
	_, err = a.secrets.Patch(ctx, a.config.Secret, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
	return a.wrapWrite(err)
}

func (a *Rotator) wrapWrite(err error) error {
	if err != nil {
		return fmt.Errorf("write Secret %s: %w", a.secretName(), err)
	}
	return nil
}

// publish puts the CAs of c into the caBundle of all webhooks, and removes what
// has been retired for long enough.
func (a *Rotator) publish(ctx context.Context, configurations []webhookConfig, c secretContent) error {
	published, removed := c.published(), a.planner.removes(c, a.clock.now())
	encoded := encode(published...)
	var failed []error
	for _, r := range configurations {
		written, err := r.publish(ctx, published, removed)
		switch {
		case err != nil:
			failed = append(failed, err)
		case written && r.lacks(published) && bytes.Equal(a.bundles[r.name], encoded):
			a.metrics.repairs.WithLabelValues(repairedBundle).Inc()
			a.config.Logger.WarnContext(ctx, "Restored a caBundle that another client had changed", "object", r.name)
		case written:
			a.config.Logger.InfoContext(ctx, "Published caBundle", "object", r.name)
		}
		if err == nil {
			a.bundles[r.name] = encoded
		}
	}
	return errors.Join(failed...)
}

// report logs and counts what was written to the Secret.
func (a *Rotator) report(ctx context.Context, secret *corev1.Secret, c secretContent, fault error, newCA bool) {
	if fault != nil && (len(a.good.signers) > 0 || secret != nil && len(secret.Data) > 0) {
		a.metrics.repairs.WithLabelValues(repairedSecret).Inc()
		a.config.Logger.WarnContext(ctx, "Restored the Secret of certificates", "secret", a.secretName(), "fault", fault)
	}
	if newCA {
		a.made(ctx, kindCA, c.signers[len(c.signers)-1].certificate)
	}
}

// made logs and counts a certificate.
func (a *Rotator) made(ctx context.Context, kind string, certificate *x509.Certificate) {
	a.metrics.rotations.WithLabelValues(kind).Inc()
	a.config.Logger.InfoContext(ctx, "Made certificate", "kind", kind, "subject", certificate.Subject.CommonName, "expiry", certificate.NotAfter.UTC())
}

func (a *Rotator) secretName() string { return a.config.Service.Namespace + "/" + a.config.Secret }

func (a *Rotator) setReady(amiss error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.notReady = amiss
}

// reportError tells of a fault once. It is not a reason to be not ready once API servers
// have been able to call: they go on with what they trust.
func (a *Rotator) reportError(ctx context.Context, err error) {
	a.metrics.errors.Inc()
	if a.lastError != err.Error() {
		a.lastError = err.Error()
		a.config.Logger.WarnContext(ctx, "Could not reconcile certificates", "error", err, "expiry", a.expiry().UTC())
	}
	if a.Valid() != nil {
		a.setReady(fmt.Errorf("the serving certificate is not made or not published yet: %w", err))
	}
}

func (a *Rotator) reportRecovery(ctx context.Context) {
	if a.lastError != "" {
		a.lastError = ""
		a.config.Logger.InfoContext(ctx, "certificates are kept up again")
	}
}
