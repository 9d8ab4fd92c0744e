package localsts_test

import (
	"bytes"
	"crypto"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/localsts"
)

func temporary(given *types.Credentials) aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider(*given.AccessKeyId, *given.SecretAccessKey, *given.SessionToken)
}

func TestAssumeRoleWithWebIdentity(t *testing.T) {
	d, c := prepared(t)
	answer, err := d.sts(nil).AssumeRoleWithWebIdentity(t.Context(), assume(c.sign(t, c.claims(d.clock.Now()))))
	if err != nil {
		t.Fatal(err)
	}
	arn := "arn:aws:sts::" + account + ":assumed-role/checkout/" + session
	for name, pair := range map[string][2]string{
		"subject":  {aws.ToString(answer.SubjectFromWebIdentityToken), subject},
		"audience": {aws.ToString(answer.Audience), audience},
		"provider": {aws.ToString(answer.Provider), c.providerARN()},
		"ARN":      {aws.ToString(answer.AssumedRoleUser.Arn), arn},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: got %q, want %q", name, pair[0], pair[1])
		}
	}
	if id := *answer.AssumedRoleUser.AssumedRoleId; !strings.HasPrefix(id, "AROA") || !strings.HasSuffix(id, ":"+session) {
		t.Errorf("got assumed role ID %q", id)
	}
	if id := *answer.Credentials.AccessKeyId; !strings.HasPrefix(id, "ASIA") || len(id) != 20 {
		t.Errorf("got access key ID %q", id)
	}
	if want := d.clock.Now().Add(time.Hour); !answer.Credentials.Expiration.Equal(want) {
		t.Errorf("got expiration %s, want %s", answer.Credentials.Expiration, want)
	}
	identity, err := d.sts(temporary(answer.Credentials)).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil {
		t.Fatal(err)
	}
	if *identity.Arn != arn || *identity.Account != account || *identity.UserId != *answer.AssumedRoleUser.AssumedRoleId {
		t.Errorf("got caller %s, %s, %s", *identity.Arn, *identity.Account, *identity.UserId)
	}
}

func TestAssumeRoleWithWebIdentity_invalidToken(t *testing.T) {
	d, c := prepared(t)
	now := d.clock.Now()
	with := func(claim string, value any) map[string]any {
		claims := c.claims(now)
		if claims[claim] = value; value == nil {
			delete(claims, claim)
		}
		return claims
	}
	const noKey = "Couldn't retrieve verification key from your identity provider,  please reference AssumeRoleWithWebIdentity documentation for requirements"
	for name, test := range map[string]struct {
		token   string
		code    string
		status  int
		message string
	}{
		"not a token": {"no-token", "InvalidIdentityToken", 400, "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)"},
		"issuer without a provider": {
			c.sign(t, with("iss", "https://elsewhere.example.com")), "InvalidIdentityToken", 400,
			"No OpenIDConnect provider found in your account for https://elsewhere.example.com",
		},
		"issuer without TLS": {
			c.sign(t, with("iss", "http://"+c.host())), "InvalidIdentityToken", 400,
			"No OpenIDConnect provider found in your account for http://" + c.host(),
		},
		"issuer with a trailing slash": {
			c.sign(t, with("iss", c.URL+"/")), "InvalidIdentityToken", 400,
			"No OpenIDConnect provider found in your account for " + c.URL + "/",
		},
		"wrong audience":          {c.sign(t, with("aud", "kubernetes")), "InvalidIdentityToken", 400, "Incorrect token audience"},
		"no audience":             {c.sign(t, with("aud", nil)), "InvalidIdentityToken", 400, "Missing a required claim: aud"},
		"no subject":              {c.sign(t, with("sub", nil)), "InvalidIdentityToken", 400, "Missing a required claim: sub"},
		"no expiry":               {c.sign(t, with("exp", nil)), "InvalidIdentityToken", 400, "Missing a required claim: exp"},
		"unknown key":             {signWith(t, newKey(t), c.claims(now)), "InvalidIdentityToken", 400, noKey},
		"known key ID, other key": {signAs(t, newKey(t), keyID(t, c), c.claims(now)), "InvalidIdentityToken", 400, "Token signature is invalid"},
		"not yet valid":           {c.sign(t, with("nbf", now.Add(time.Hour).Unix())), "InvalidIdentityToken", 400, "Token is not yet valid"},
		"another ServiceAccount":  {c.sign(t, with("sub", "system:serviceaccount:shop:other")), "AccessDenied", 403, "Not authorized to perform sts:AssumeRoleWithWebIdentity"},
		"another namespace":       {c.sign(t, with("sub", "system:serviceaccount:other:checkout")), "AccessDenied", 403, "Not authorized to perform sts:AssumeRoleWithWebIdentity"},
		"expired": {
			c.sign(t, with("exp", now.Add(-time.Minute).Unix())), "ExpiredTokenException", 400,
			fmt.Sprintf("Token expired: current date/time %d must be before the expiration date/time %d", now.Unix(), now.Add(-time.Minute).Unix()),
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := d.sts(nil).AssumeRoleWithWebIdentity(t.Context(), assume(test.token))
			expectError(t, err, test.code, test.status, test.message)
			switch test.code {
			case "InvalidIdentityToken":
				expectType[*types.InvalidIdentityTokenException](t, err)
			case "ExpiredTokenException":
				expectType[*types.ExpiredTokenException](t, err)
			}
			if strings.Contains(err.Error(), test.token) {
				t.Error("error contains the token")
			}
		})
	}
}

func keyID(t *testing.T, c *cluster) string {
	t.Helper()
	raw := c.sign(t, map[string]any{})
	return kidOf(t, raw)
}

func TestAssumeRoleWithWebIdentity_invalidRequest(t *testing.T) {
	d, c := prepared(t)
	valid := c.sign(t, c.claims(d.clock.Now()))
	for name, test := range map[string]struct {
		update  func(*sts.AssumeRoleWithWebIdentityInput)
		code    string
		status  int
		message string
	}{
		"role does not exist": {
			func(in *sts.AssumeRoleWithWebIdentityInput) { in.RoleArn = aws.String(roleARN("missing")) },
			"AccessDenied", 403, "Not authorized to perform sts:AssumeRoleWithWebIdentity",
		},
		"wrong path of the role": {
			func(in *sts.AssumeRoleWithWebIdentityInput) { in.RoleArn = aws.String(roleARN("team/checkout")) },
			"AccessDenied", 403, "Not authorized to perform sts:AssumeRoleWithWebIdentity",
		},
		"role of another account": {func(in *sts.AssumeRoleWithWebIdentityInput) {
			in.RoleArn = aws.String("arn:aws:iam::444455556666:role/checkout")
		}, "InvalidIdentityToken", 400, "No OpenIDConnect provider found in your account for " + c.URL},
		"ARN of a user": {func(in *sts.AssumeRoleWithWebIdentityInput) {
			in.RoleArn = aws.String("arn:aws:iam::" + account + ":user/checkout")
		}, "ValidationError", 400, "Request ARN is invalid"},
		"not an ARN": {
			func(in *sts.AssumeRoleWithWebIdentityInput) { in.RoleArn = aws.String("checkout") }, "ValidationError", 400,
			"1 validation error detected: Value 'checkout' at 'roleArn' failed to satisfy constraint: Member must have length greater than or equal to 20",
		},
		"session name with invalid characters": {
			func(in *sts.AssumeRoleWithWebIdentityInput) { in.RoleSessionName = aws.String("a:b") }, "ValidationError", 400,
			`1 validation error detected: Value 'a:b' at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\w+=,.@-]*`,
		},
		"session name too long": {func(in *sts.AssumeRoleWithWebIdentityInput) {
			in.RoleSessionName = aws.String(strings.Repeat("a", 65))
		}, "ValidationError", 400, "1 validation error detected: Value '" + strings.Repeat("a", 65) + "' at 'roleSessionName' failed to satisfy constraint: Member must have length less than or equal to 64"},
		"two invalid parameters": {func(in *sts.AssumeRoleWithWebIdentityInput) {
			in.RoleSessionName, in.DurationSeconds = aws.String("a"), aws.Int32(1)
		}, "ValidationError", 400, "2 validation errors detected: Value 'a' at 'roleSessionName' failed to satisfy constraint: Member must have length greater than or equal to 2; " +
			"Value '1' at 'durationSeconds' failed to satisfy constraint: Member must have value greater than or equal to 900"},
		"duration longer than the role allows": {
			func(in *sts.AssumeRoleWithWebIdentityInput) { in.DurationSeconds = aws.Int32(3601) }, "ValidationError", 400,
			"The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
		},
		"session policy is not JSON": {
			func(in *sts.AssumeRoleWithWebIdentityInput) { in.Policy = aws.String("{") },
			"MalformedPolicyDocument", 400, "This policy contains invalid Json",
		},
		"session policy without statements": {
			func(in *sts.AssumeRoleWithWebIdentityInput) { in.Policy = aws.String(`{"Version": "2012-10-17"}`) },
			"MalformedPolicyDocument", 400, "Syntax errors in policy.",
		},
		"session policies too large": {func(in *sts.AssumeRoleWithWebIdentityInput) {
			in.Policy = aws.String(`{"Statement": {}, "Id": "` + strings.Repeat("x", 1900) + `"}`)
			for i := range 4 {
				in.PolicyArns = append(in.PolicyArns, types.PolicyDescriptorType{Arn: aws.String(fmt.Sprintf("arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess%d", i))})
			}
		}, "PackedPolicyTooLarge", 400, "Packed policy consumes 103% of allotted space, please use smaller policy."},
	} {
		t.Run(name, func(t *testing.T) {
			in := assume(valid)
			test.update(in)
			_, err := d.sts(nil).AssumeRoleWithWebIdentity(t.Context(), in)
			expectError(t, err, test.code, test.status, test.message)
			switch test.code {
			case "MalformedPolicyDocument":
				expectType[*types.MalformedPolicyDocumentException](t, err)
			case "PackedPolicyTooLarge":
				expectType[*types.PackedPolicyTooLargeException](t, err)
			}
		})
	}
}

func TestAssumeRoleWithWebIdentity_sessionOptions(t *testing.T) {
	d, c := prepared(t)
	in := assume(c.sign(t, c.claims(d.clock.Now())))
	in.DurationSeconds = aws.Int32(900)
	in.Policy = aws.String(`{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]}`)
	in.PolicyArns = []types.PolicyDescriptorType{{Arn: aws.String("arn:aws:iam::aws:policy/ReadOnlyAccess")}}
	answer, err := d.sts(nil).AssumeRoleWithWebIdentity(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if size := aws.ToInt32(answer.PackedPolicySize); size < 1 || size > 100 { //nolint:staticcheck // AWS does not document the size that its replacement refers to
		t.Errorf("got packed policy size %d%%, want 1 to 100", size)
	}
	if want := d.clock.Now().Add(15 * time.Minute); !answer.Credentials.Expiration.Equal(want) {
		t.Errorf("got expiration %s, want %s", answer.Credentials.Expiration, want)
	}
	if _, err := d.sts(temporary(answer.Credentials)).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{}); err != nil {
		t.Error(err)
	}
}

func TestAssumeRoleWithWebIdentity_trustPolicy(t *testing.T) {
	for name, test := range map[string]struct {
		conditions string
		claims     map[string]any
		allowed    bool
	}{
		"sub and aud match":                         {conditions: minimalConditions, allowed: true},
		"no condition":                              {conditions: `{}`, allowed: true},
		"sub matches a pattern":                     {conditions: `{"StringLike": {"ISSUER:sub": "system:serviceaccount:shop:*"}}`, allowed: true},
		"sub does not match a pattern":              {conditions: `{"StringLike": {"ISSUER:sub": "system:serviceaccount:other:*"}}`},
		"StringEquals does not use patterns":        {conditions: `{"StringEquals": {"ISSUER:sub": "system:serviceaccount:shop:*"}}`},
		"sub is one of several values":              {conditions: `{"StringEquals": {"ISSUER:sub": ["system:serviceaccount:shop:other", "` + subject + `"]}}`, allowed: true},
		"condition key of another issuer":           {conditions: `{"StringEquals": {"oidc.example.com:sub": "` + subject + `"}}`},
		"condition key of another issuer, IfExists": {conditions: `{"StringEqualsIfExists": {"oidc.example.com:sub": "x"}}`, allowed: true},
		"session name":                              {conditions: `{"StringEquals": {"sts:RoleSessionName": "` + session + `"}}`, allowed: true},
		"amr has any of the values":                 {conditions: `{"ForAnyValue:StringLike": {"ISSUER:amr": "authenticated"}}`, claims: map[string]any{"amr": []string{"authenticated", "mfa"}}, allowed: true},
		"amr is missing":                            {conditions: `{"ForAnyValue:StringLike": {"ISSUER:amr": "authenticated"}}`},
		"amr is missing, ForAllValues":              {conditions: `{"ForAllValues:StringEquals": {"ISSUER:amr": "authenticated"}}`, allowed: true},
		"sub is not the excluded value":             {conditions: `{"StringNotEquals": {"ISSUER:sub": "system:serviceaccount:shop:other"}}`, allowed: true},
		"sub must be missing":                       {conditions: `{"Null": {"ISSUER:sub": "true"}}`},
		"two operators, one does not match":         {conditions: `{"StringEquals": {"ISSUER:aud": "` + audience + `"}, "StringLike": {"ISSUER:sub": "other*"}}`},
		"time in the future":                        {conditions: `{"DateGreaterThan": {"aws:CurrentTime": "2099-01-01T00:00:00Z"}}`},
		"time not yet reached":                      {conditions: `{"DateLessThan": {"aws:CurrentTime": "2099-01-01T00:00:00Z"}}`, allowed: true},
		"time in the past, IfExists":                {conditions: `{"DateLessThanIfExists": {"aws:EpochTime": "2020-01-01T00:00:00Z"}}`},
		"address of the caller":                     {conditions: `{"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}`, allowed: true},
		"another address, IfExists":                 {conditions: `{"IpAddressIfExists": {"aws:SourceIp": "203.0.113.0/24"}}`},
		"call without TLS, IfExists":                {conditions: `{"BoolIfExists": {"aws:SecureTransport": "true"}}`},
		"excluded user agent":                       {conditions: `{"StringNotLike": {"aws:UserAgent": "aws-sdk-go-v2/*"}}`},
		"audience not in the policy":                {conditions: `{"StringEquals": {"ISSUER:aud": "other"}}`},
	} {
		t.Run(name, func(t *testing.T) {
			d, c := prepared(t)
			if _, err := d.iam().UpdateAssumeRolePolicy(t.Context(), &iam.UpdateAssumeRolePolicyInput{
				RoleName: aws.String("checkout"), PolicyDocument: aws.String(c.trustPolicyFor(test.conditions)),
			}); err != nil {
				t.Fatal(err)
			}
			claims := c.claims(d.clock.Now())
			maps.Copy(claims, test.claims)
			_, err := d.sts(nil).AssumeRoleWithWebIdentity(t.Context(), assume(c.sign(t, claims)))
			if test.allowed && err != nil {
				t.Error(err)
			}
			if !test.allowed {
				expectError(t, err, "AccessDenied", 403, "Not authorized to perform sts:AssumeRoleWithWebIdentity")
			}
		})
	}
}

func TestAssumeRoleWithWebIdentity_dateCondition(t *testing.T) {
	d, c := prepared(t)
	allow := c.trustPolicyFor(minimalConditions)
	deny := `, {"Effect": "Deny", "Principal": "*", "Action": "sts:*", "Condition": {"DateGreaterThan": {"aws:CurrentTime": "` +
		d.clock.Now().Add(time.Minute).UTC().Format(time.RFC3339) + `"}}}]}`
	d.createRole(t, "for-a-minute", strings.TrimSuffix(allow, "]}")+deny)
	assumeRole := func() error {
		in := assume(c.sign(t, c.claims(d.clock.Now())))
		in.RoleArn = aws.String(roleARN("for-a-minute"))
		_, err := d.sts(nil).AssumeRoleWithWebIdentity(t.Context(), in)
		return err
	}
	expectNone(t, assumeRole())
	d.clock.add(2 * time.Minute)
	expectError(t, assumeRole(), "AccessDenied", 403, "Not authorized to perform sts:AssumeRoleWithWebIdentity")
}

func TestKeyCache_refresh(t *testing.T) {
	d, c := prepared(t)
	assumeRole := func() error {
		_, err := d.sts(nil).AssumeRoleWithWebIdentity(t.Context(), assume(c.sign(t, c.claims(d.clock.Now()))))
		return err
	}
	reads := func() int {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.reads
	}
	for range 3 {
		if err := assumeRole(); err != nil {
			t.Fatal(err)
		}
	}
	if got := reads(); got != 1 {
		t.Errorf("got %d reads of the keys for one key, want 1", got)
	}
	c.rotate(t)
	for range 3 {
		if err := assumeRole(); err == nil {
			t.Error("unknown key caused a second read within a second")
		}
	}
	d.clock.add(time.Second)
	if err := assumeRole(); err != nil {
		t.Error(err)
	}
	if got := reads(); got != 2 {
		t.Errorf("got %d reads of the keys for two keys, want 2", got)
	}
	c.mu.Lock()
	c.publicKeys = []crypto.PublicKey{newKey(t).Public()}
	c.mu.Unlock()
	d.clock.add(time.Minute)
	if err := assumeRole(); err == nil {
		t.Error("key that is not published any more was accepted after a minute")
	}
}

func TestKeyCache_issuerTimeout(t *testing.T) {
	d, c := prepared(t)
	c.mu.Lock()
	c.fails = true
	c.mu.Unlock()
	_, err := d.sts(nil).AssumeRoleWithWebIdentity(t.Context(), assume(c.sign(t, c.claims(d.clock.Now()))))
	expectError(t, err, "InvalidIdentityToken", http.StatusBadRequest, "Couldn't retrieve verification key from your identity provider,...")
	c.mu.Lock()
	c.fails = false
	c.mu.Unlock()
	d.clock.add(time.Second)
	if _, err := d.sts(nil).AssumeRoleWithWebIdentity(t.Context(), assume(c.sign(t, c.claims(d.clock.Now())))); err != nil {
		t.Errorf("after the issuer responds again: %v", err)
	}
}

func TestKeyCache_untrustedIssuer(t *testing.T) {
	d, c := prepared(t, untrusting)
	_, err := d.sts(nil).AssumeRoleWithWebIdentity(t.Context(), assume(c.sign(t, c.claims(d.clock.Now()))))
	expectError(t, err, "InvalidIdentityToken", http.StatusBadRequest, "Couldn't retrieve verification key from your identity provider,...")
}

func TestLog_noSecrets(t *testing.T) {
	var log bytes.Buffer
	d, c := prepared(t, func(o *localsts.Options) { o.Logger = slog.New(slog.NewJSONHandler(&log, nil)) })
	valid := c.sign(t, c.claims(d.clock.Now()))
	answer, err := d.sts(nil).AssumeRoleWithWebIdentity(t.Context(), assume(valid))
	expectNone(t, err)
	_, err = d.sts(temporary(answer.Credentials)).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	expectNone(t, err)
	claims := c.claims(d.clock.Now())
	claims["sub"] = "system:serviceaccount:shop:other"
	denied := c.sign(t, claims)
	_, _ = d.sts(nil).AssumeRoleWithWebIdentity(t.Context(), assume(denied))
	misplaced := assume(valid)
	misplaced.RoleSessionName = aws.String(valid) // the response quotes it
	_, err = d.sts(nil).AssumeRoleWithWebIdentity(t.Context(), misplaced)
	expectError(t, err, "ValidationError", 400, "1 validation error detected: Value '"+valid+"' at 'roleSessionName'...")
	d.server.Close() // wait until all calls are logged
	for _, want := range []string{`"subject":"system:serviceaccount:shop:other"`, "Trust policy does not allow the token", `"action":"GetCallerIdentity"`, "Value '(a token)' at 'roleSessionName'"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("log does not contain %s:\n%s", want, &log)
		}
	}
	for _, never := range []string{valid, denied, *answer.Credentials.SecretAccessKey, *answer.Credentials.SessionToken, adminSecret} {
		if strings.Contains(log.String(), never) {
			t.Errorf("log contains %q", never)
		}
	}
}

func TestServer_concurrentRequests(t *testing.T) {
	d, c := prepared(t)
	token := c.sign(t, c.claims(d.clock.Now()))
	var running sync.WaitGroup
	for i := range 16 {
		running.Go(func() {
			d.createRole(t, fmt.Sprintf("other-%d", i), c.trustPolicyFor(minimalConditions))
			answer, err := d.sts(nil).AssumeRoleWithWebIdentity(t.Context(), assume(token))
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := d.sts(temporary(answer.Credentials)).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{}); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	roles, err := d.iam().ListRoles(t.Context(), &iam.ListRolesInput{})
	if err != nil {
		t.Fatal(err)
	}
	if len(roles.Roles) != 17 {
		t.Errorf("got %d roles, want 17", len(roles.Roles))
	}
}
