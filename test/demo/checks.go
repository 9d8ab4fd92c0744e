package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token/exchange"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token/issuer"
)

// stsAudience is the audience that IAM's OIDC providers for clusters expect.
const stsAudience = "sts.amazonaws.com"

// finding is a statement and what speaks against it; nil if nothing does.
type finding struct {
	statement string
	err       error
}

// check compares the evidence with what is promised.
func (e *evidence) check(ctx context.Context) []finding {
	return []finding{
		{"The pod has the role of its ServiceAccount, and a token where the SDK looks for it.", e.hasIdentity()},
		{"All that the pod had of its own is still there, unchanged.", e.keepsThePod()},
		{"A pod whose ServiceAccount has no role is left alone.", e.unrelatedPodUnchanged()},
		{"The token says which ServiceAccount it is, is meant for STS, and expires as asked.", e.tokenIsAsAsked()},
		{"The token is bound to this one pod, by name and UID.", e.tokenIsBound()},
		{fmt.Sprintf("Anybody can verify the token: its key %.8s… is public, and the signature is good.", e.claims.KeyID), e.tokenIsVerifiable(ctx)},
		{"The Kubernetes API itself refuses the token: it is good for STS only.", e.cluster.expectRefused(ctx, e.rawToken)},
		{"For the token STS gives credentials of this role, with nothing but the container's environment.", e.hasCredentials()},
		{"The token of another ServiceAccount gets none: the role does not trust it.", e.otherTokensRefused(ctx)},
	}
}

func (e *evidence) hasIdentity() error {
	role := e.account.Annotations[roleAnnotation]
	if role == "" {
		return fmt.Errorf("the ServiceAccount has no annotation %s", roleAnnotation)
	}
	for _, container := range slices.Concat(e.pod.Spec.InitContainers, e.pod.Spec.Containers) {
		if got := environment(&container, roleVariable); got != role {
			return fmt.Errorf("container %s has the role %q, want %q", container.Name, got, role)
		}
		if _, err := mountedToken(&e.pod.Spec, &container); err != nil {
			return err
		}
	}
	return nil
}

func (e *evidence) keepsThePod() error {
	if e.change.lossy {
		return errors.New("something was removed or changed")
	}
	return nil
}

func (e *evidence) unrelatedPodUnchanged() error {
	if len(e.bystanderChange.lines) > 0 {
		return fmt.Errorf("it was changed: %q", e.bystanderChange.lines)
	}
	return nil
}

func (e *evidence) tokenIsAsAsked() error {
	if want := token.Subject(e.pod.Namespace, e.account.Name); e.claims.Subject != want {
		return fmt.Errorf("its subject is %q, want %q", e.claims.Subject, want)
	}
	if !slices.Equal(e.claims.Audience, []string{stsAudience}) {
		return fmt.Errorf("its audience is %q, want %q", e.claims.Audience, stsAudience)
	}
	want := time.Duration(*e.projection.ExpirationSeconds) * time.Second
	if got := e.claims.Expiry.Sub(e.claims.IssuedAt); got != want {
		return fmt.Errorf("it lives for %s, want %s", got, want)
	}
	return nil
}

func (e *evidence) tokenIsBound() error {
	if want := (token.Object{Name: e.pod.Name, UID: string(e.pod.UID)}); e.claims.Pod != want {
		return fmt.Errorf("it is bound to %v, want %v", e.claims.Pod, want)
	}
	return nil
}

func (e *evidence) tokenIsVerifiable(ctx context.Context) error {
	client, err := e.cluster.controlPlane.AnonymousClient()
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	published, err := issuer.Discover(ctx, client, e.cluster.controlPlane.Issuer())
	if err != nil {
		return err
	}
	_, err = published.Verify(ctx, e.rawToken, issuer.Expected{Audiences: []string{stsAudience}})
	return err
}

func (e *evidence) hasCredentials() error {
	_, role, _ := strings.Cut(e.account.Annotations[roleAnnotation], ":role/")
	if !strings.Contains(e.caller, ":assumed-role/"+role+"/") {
		return fmt.Errorf("STS calls it %q, want a session of the role %s", e.caller, role)
	}
	return nil
}

func (e *evidence) otherTokensRefused(ctx context.Context) error {
	other, err := e.cluster.mintToken(ctx, e.bystander, e.projection)
	if err != nil {
		return err
	}
	_, err = exchange.WithWebIdentity(ctx, e.cluster.sts.AnonymousConfig(), exchange.Input{
		RoleARN: e.account.Annotations[roleAnnotation], SessionName: "bystander", Token: other,
	})
	refusal, ok := errors.AsType[*exchange.Error](err)
	switch {
	case err == nil:
		return errors.New("STS gave it credentials")
	case !ok || refusal.Reason != exchange.AccessDenied:
		return fmt.Errorf("STS did not refuse it for want of trust, but: %w", err)
	}
	return nil
}
