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

// finding is a statement. Its err is nil if the statement is true.
type finding struct {
	statement string
	err       error
}

// check compares the evidence with the expected result.
func (e *evidence) check(ctx context.Context) []finding {
	return []finding{
		{"The pod has the role of its ServiceAccount, and a token in the file that AWS SDKs read.", e.hasIdentity()},
		{"The webhook only added to the pod; it removed and changed nothing.", e.keepsThePod()},
		{"The webhook did not change a pod without a role.", e.unrelatedPodUnchanged()},
		{"The token names the ServiceAccount, is valid for STS, and has the requested lifetime.", e.tokenAsRequested()},
		{"The token is bound to this one pod, by name and UID.", e.tokenIsBound()},
		{fmt.Sprintf("The token's signature is valid: verified with the public key %.8s…", e.claims.KeyID), e.tokenIsVerifiable(ctx)},
		{"The Kubernetes API server rejects the token: it is valid only for STS.", e.cluster.expectRejected(ctx, e.rawToken)},
		{"STS returns credentials of this role for the token and the container's environment.", e.hasCredentials()},
		{"STS rejects the token of another ServiceAccount: the role does not trust it.", e.otherTokensRejected(ctx)},
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
		return errors.New("the webhook removed or changed a part of the pod")
	}
	return nil
}

func (e *evidence) unrelatedPodUnchanged() error {
	if len(e.bystanderChange.lines) > 0 {
		return fmt.Errorf("pod %s was changed: %q", e.bystander.Name, e.bystanderChange.lines)
	}
	return nil
}

func (e *evidence) tokenAsRequested() error {
	if want := token.Subject(e.pod.Namespace, e.account.Name); e.claims.Subject != want {
		return fmt.Errorf("the token's subject is %q, want %q", e.claims.Subject, want)
	}
	if !slices.Equal(e.claims.Audience, []string{stsAudience}) {
		return fmt.Errorf("the token's audience is %q, want %q", e.claims.Audience, stsAudience)
	}
	want := time.Duration(*e.projection.ExpirationSeconds) * time.Second
	if got := e.claims.Expiry.Sub(e.claims.IssuedAt); got != want {
		return fmt.Errorf("the token is valid for %s, want %s", got, want)
	}
	return nil
}

func (e *evidence) tokenIsBound() error {
	if want := (token.Object{Name: e.pod.Name, UID: string(e.pod.UID)}); e.claims.Pod != want {
		return fmt.Errorf("the token is bound to pod %v, want %v", e.claims.Pod, want)
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
		return fmt.Errorf("GetCallerIdentity returned %q, want a session of role %s", e.caller, role)
	}
	return nil
}

func (e *evidence) otherTokensRejected(ctx context.Context) error {
	other, err := e.cluster.requestToken(ctx, e.bystander, e.projection)
	if err != nil {
		return err
	}
	_, err = exchange.WithWebIdentity(ctx, e.cluster.sts.AnonymousConfig(), exchange.Input{
		RoleARN: e.account.Annotations[roleAnnotation], SessionName: "bystander", Token: other,
	})
	rejection, ok := errors.AsType[*exchange.Error](err)
	switch {
	case err == nil:
		return errors.New("STS returned credentials")
	case !ok || rejection.Reason != exchange.AccessDenied:
		return fmt.Errorf("STS returned an error other than %v: %w", exchange.AccessDenied, err)
	}
	return nil
}
