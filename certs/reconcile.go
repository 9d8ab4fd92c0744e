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

// fieldManager is the name of the webhook in the managedFields of objects.
const fieldManager = "pod-identity-webhook"

// The values of the metrics' labels.
const (
	kindCA         = "ca"
	kindServing    = "serving"
	repairedSecret = "secret"
	repairedBundle = "ca_bundle"
)

// reconcileTimeout is the timeout of one reconcile, which makes a few API calls.
const reconcileTimeout = 20 * time.Second

// reconcile reads the Secret and the webhook configurations, writes the changes that
// are due, and makes the server use a certificate that API servers trust. It gets
// both from the API server and not from a watch, because it must not publish stale
// CAs. It returns an error if a read, a write or a signature fails.
func (a *Rotator) reconcile(ctx context.Context) error {
	if err := a.renew(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, reconcileTimeout)
	defer cancel()
	// The order matters. If another replica publishes after this read, the patch below
	// conflicts. So the Secret is not older than what the patch replaces.
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
	// A failed write can wait: other replicas sign with the same CA, or with one that
	// is published.
	a.lastValid = next
	unpublished := errors.Join(unread, a.publish(ctx, configurations, next))
	if err := a.serve(ctx, secret, next, seen, published); err != nil {
		return err
	}
	if unpublished == nil {
		a.setNotReady(nil)
	}
	return errors.Join(unwritten, unpublished)
}

// renew replaces the serving certificate with a new one from the same CA if it is
// due. It does not need the API server.
func (a *Rotator) renew(ctx context.Context) error {
	current, now := a.current.Load(), a.clock.now()
	if current.issuer == nil || now.Before(current.renewal) {
		return nil
	}
	for _, signer := range a.lastValid.signers {
		if signer.certificate.Equal(current.issuer) && valid(signer.certificate, now) {
			return a.sign(ctx, signer)
		}
	}
	return nil
}

// serve signs a new serving certificate if API servers do not trust the current one.
// It also does so if they have had time to trust a new CA that should sign now.
func (a *Rotator) serve(ctx context.Context, secret *corev1.Secret, next secretContent, seen observed, published func(*x509.Certificate) bool) error {
	current, signer := a.current.Load(), next.signers[0]
	if current.issuer == nil {
		// An earlier version creates a CA, and serves a certificate of the previous
		// CA until API servers have had time to trust the new one. It does not store
		// the key of the previous CA. A replica that starts then must do the same.
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

// stored returns the serving certificate that an earlier version stored in the Secret.
// It returns nil if there is none that API servers trust.
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
	created, err := newServingCert(a.clock.now(), a.config.ServingLifetime, a.planner.names, signer)
	if err != nil {
		return err
	}
	a.current.Store(created)
	a.reportCreated(ctx, kindServing, created.Leaf)
	return nil
}

// readSecret returns the Secret, or nil if it does not exist.
func (a *Rotator) readSecret(ctx context.Context) (*corev1.Secret, error) {
	secret, err := a.secrets.Get(ctx, a.config.Secret, metav1.GetOptions{})
	switch {
	case objectcache.IsNotFound(err, a.config.Secret):
		return nil, nil //nolint:nilnil // absence is not an error
	case err != nil:
		return nil, fmt.Errorf("read Secret %s: %w", a.secretName(), err)
	}
	return secret, nil
}

// currentContent returns the content to plan from, and the fault of the Secret. If
// the Secret is corrupted, its last valid content takes precedence, so that API
// servers do not have to trust a new CA.
func (a *Rotator) currentContent(secret *corev1.Secret, seen observed) (start secretContent, fault error) {
	if secret == nil {
		fault = errors.New("the Secret does not exist")
	} else {
		start, fault = parseContent(secret.Data)
	}
	if len(a.lastValid.signers) > 0 && valid(a.lastValid.signers[0].certificate, a.clock.now()) {
		if fault == nil && a.replaced(start, secret, seen) {
			fault = errors.New("the CA in the Secret is not the one in use, and API servers do not trust it")
		}
		if fault != nil {
			return a.lastValid, fault
		}
	}
	if fault == nil {
		fault = start.checkOrigin(a.clock.now(), seen)
	}
	return start, fault
}

// replaced reports whether another client has replaced the CA that signs. A replica
// replaces it only in one of these cases:
//   - API servers trust the new CA.
//   - The key was removed.
//   - The replica records the previous CA as retired.
func (a *Rotator) replaced(start secretContent, secret *corev1.Secret, seen observed) bool {
	known := a.lastValid.signers[0].certificate
	if len(start.signers) > 0 {
		if first := start.signers[0].certificate; first.Equal(known) || seen.trusts(first) {
			return false
		}
	}
	_, retired := start.retired[fingerprint(known.Raw)]
	// An earlier version does not record retired CAs. It keeps a serving certificate
	// of the previous CA instead.
	if contains(start.former, known) && (len(start.signers) == 0 || retired || a.stored(secret, seen) != nil) {
		return false
	}
	return seen.trusts(known) || !start.trusts(known)
}

// write stores c in the Secret if the Secret has not changed since it was read;
// secret is nil if it did not exist. It does not change other keys of the Secret. If
// the Secret has changed, write returns an error for which apierrors.IsConflict
// returns true.
func (a *Rotator) write(ctx context.Context, secret *corev1.Secret, c secretContent) error {
	data, err := c.encode()
	if err != nil {
		return err
	}
	if secret == nil {
		maps.DeleteFunc(data, func(_ string, value []byte) bool { return value == nil })
		// The type of a Secret cannot be changed later, so use that of the chart's
		// Secret. RBAC can permit an apply for a Secret of one name, but a create
		// only for all Secrets. The apply conflicts with that of another replica,
		// because each has its own field manager.
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

// publish adds the CAs of c to the caBundle of all webhooks, and removes entries that
// have been retired for long enough. It tries all configurations before it returns
// their errors.
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

// report logs and counts a repair of the Secret and the creation of a CA.
func (a *Rotator) report(ctx context.Context, secret *corev1.Secret, c secretContent, fault error, newCA bool) {
	if fault != nil && (len(a.lastValid.signers) > 0 || secret != nil && len(secret.Data) > 0) {
		a.metrics.repairs.WithLabelValues(repairedSecret).Inc()
		a.config.Logger.WarnContext(ctx, "Restored certificate Secret", "secret", a.secretName(), "fault", fault)
	}
	if newCA {
		a.reportCreated(ctx, kindCA, c.signers[len(c.signers)-1].certificate)
	}
}

// reportCreated logs and counts a new certificate.
func (a *Rotator) reportCreated(ctx context.Context, kind string, certificate *x509.Certificate) {
	a.metrics.rotations.WithLabelValues(kind).Inc()
	a.config.Logger.InfoContext(ctx, "Created certificate", "kind", kind, "subject", certificate.Subject.CommonName, "expiry", certificate.NotAfter.UTC())
}

func (a *Rotator) secretName() string { return a.config.Service.Namespace + "/" + a.config.Secret }

// setNotReady sets the error that Valid returns, nil for none.
func (a *Rotator) setNotReady(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.notReady = err
}

// reportError counts an error, and logs it if it differs from the last one. An error
// does not make the webhook unready after API servers could call it once, because
// they continue to trust the current certificate.
func (a *Rotator) reportError(ctx context.Context, err error) {
	a.metrics.errors.Inc()
	if a.lastError != err.Error() {
		a.lastError = err.Error()
		a.config.Logger.WarnContext(ctx, "Could not reconcile certificates", "error", err, "expiry", a.expiry().UTC())
	}
	if a.Valid() != nil {
		a.setNotReady(fmt.Errorf("serving certificate is not created or its CA is not published yet: %w", err))
	}
}

func (a *Rotator) reportRecovery(ctx context.Context) {
	if a.lastError != "" {
		a.lastError = ""
		a.config.Logger.InfoContext(ctx, "Reconciled certificates after an error")
	}
}
