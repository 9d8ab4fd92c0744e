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
	for what, pair := range map[string][2]string{
		"subject":  {aws.ToString(answer.SubjectFromWebIdentityToken), subject},
		"audience": {aws.ToString(answer.Audience), audience},
		"provider": {aws.ToString(answer.Provider), c.providerARN()},
		"ARN":      {aws.ToString(answer.AssumedRoleUser.Arn), arn},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s %q, want %q", what, pair[0], pair[1])
		}
	}
	if id := *answer.AssumedRoleUser.AssumedRoleId; !strings.HasPrefix(id, "AROA") || !strings.HasSuffix(id, ":"+session) {
		t.Errorf("the assumed role's id is %q", id)
	}
	if id := *answer.Credentials.AccessKeyId; !strings.HasPrefix(id, "ASIA") || len(id) != 20 {
		t.Errorf("the access key's id is %q", id)
	}
	if want := d.clock.Now().Add(time.Hour); !answer.Credentials.Expiration.Equal(want) {
		t.Errorf("they expire at %s, want %s", answer.Credentials.Expiration, want)
	}
	identity, err := d.sts(temporary(answer.Credentials)).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil {
		t.Fatal(err)
	}
	if *identity.Arn != arn || *identity.Account != account || *identity.UserId != *answer.AssumedRoleUser.AssumedRoleId {
		t.Errorf("the caller is %s, %s, %s", *identity.Arn, *identity.Account, *identity.UserId)
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
		"one that is no token": {"no-token", "InvalidIdentityToken", 400, "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)"},
		"one of an issuer that is no provider": {
			c.sign(t, with("iss", "https://elsewhere.example.com")), "InvalidIdentityToken", 400,
			"No OpenIDConnect provider found in your account for https://elsewhere.example.com",
		},
		"one of an issuer without TLS": {
			c.sign(t, with("iss", "http://"+c.host())), "InvalidIdentityToken", 400,
			"No OpenIDConnect provider found in your account for http://" + c.host(),
		},
		"one whose issuer ends in a slash": {
			c.sign(t, with("iss", c.URL+"/")), "InvalidIdentityToken", 400,
			"No OpenIDConnect provider found in your account for " + c.URL + "/",
		},
		"one of another audience":          {c.sign(t, with("aud", "kubernetes")), "InvalidIdentityToken", 400, "Incorrect token audience"},
		"one without an audience":          {c.sign(t, with("aud", nil)), "InvalidIdentityToken", 400, "Missing a required claim: aud"},
		"one without a subject":            {c.sign(t, with("sub", nil)), "InvalidIdentityToken", 400, "Missing a required claim: sub"},
		"one that does not expire":         {c.sign(t, with("exp", nil)), "InvalidIdentityToken", 400, "Missing a required claim: exp"},
		"one of a foreign key":             {signWith(t, newKey(t), c.claims(now)), "InvalidIdentityToken", 400, noKey},
		"one that only claims a known key": {signAs(t, newKey(t), keyID(t, c), c.claims(now)), "InvalidIdentityToken", 400, "Token signature is invalid"},
		"one that is not yet valid":        {c.sign(t, with("nbf", now.Add(time.Hour).Unix())), "InvalidIdentityToken", 400, "Token is not yet valid"},
		"one of another ServiceAccount":    {c.sign(t, with("sub", "system:serviceaccount:shop:other")), "AccessDenied", 403, "Not authorized to perform sts:AssumeRoleWithWebIdentity"},
		"one of another namespace's":       {c.sign(t, with("sub", "system:serviceaccount:other:checkout")), "AccessDenied", 403, "Not authorized to perform sts:AssumeRoleWithWebIdentity"},
		"one that has expired": {
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
				t.Error("the error quotes the token")
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
	good := c.sign(t, c.claims(d.clock.Now()))
	for name, test := range map[string]struct {
		update  func(*sts.AssumeRoleWithWebIdentityInput)
		code    string
		status  int
		message string
	}{
		"for a role that does not exist": {
			func(in *sts.AssumeRoleWithWebIdentityInput) { in.RoleArn = aws.String(roleARN("nobody")) },
			"AccessDenied", 403, "Not authorized to perform sts:AssumeRoleWithWebIdentity",
		},
		"for a role without its path": {
			func(in *sts.AssumeRoleWithWebIdentityInput) { in.RoleArn = aws.String(roleARN("team/checkout")) },
			"AccessDenied", 403, "Not authorized to perform sts:AssumeRoleWithWebIdentity",
		},
		"for a role of another account": {func(in *sts.AssumeRoleWithWebIdentityInput) {
			in.RoleArn = aws.String("arn:aws:iam::444455556666:role/checkout")
		}, "InvalidIdentityToken", 400, "No OpenIDConnect provider found in your account for " + c.URL},
		"for what is no role": {func(in *sts.AssumeRoleWithWebIdentityInput) {
			in.RoleArn = aws.String("arn:aws:iam::" + account + ":user/checkout")
		}, "ValidationError", 400, "Request ARN is invalid"},
		"for what is no ARN": {
			func(in *sts.AssumeRoleWithWebIdentityInput) { in.RoleArn = aws.String("checkout") }, "ValidationError", 400,
			"1 validation error detected: Value 'checkout' at 'roleArn' failed to satisfy constraint: Member must have length greater than or equal to 20",
		},
		"with a session name of other characters": {
			func(in *sts.AssumeRoleWithWebIdentityInput) { in.RoleSessionName = aws.String("a:b") }, "ValidationError", 400,
			`1 validation error detected: Value 'a:b' at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\w+=,.@-]*`,
		},
		"with a session name that is too long": {func(in *sts.AssumeRoleWithWebIdentityInput) {
			in.RoleSessionName = aws.String(strings.Repeat("a", 65))
		}, "ValidationError", 400, "1 validation error detected: Value '" + strings.Repeat("a", 65) + "' at 'roleSessionName' failed to satisfy constraint: Member must have length less than or equal to 64"},
		"with two faults": {func(in *sts.AssumeRoleWithWebIdentityInput) {
			in.RoleSessionName, in.DurationSeconds = aws.String("a"), aws.Int32(1)
		}, "ValidationError", 400, "2 validation errors detected: Value 'a' at 'roleSessionName' failed to satisfy constraint: Member must have length greater than or equal to 2; " +
			"Value '1' at 'durationSeconds' failed to satisfy constraint: Member must have value greater than or equal to 900"},
		"for longer than the role allows": {
			func(in *sts.AssumeRoleWithWebIdentityInput) { in.DurationSeconds = aws.Int32(3601) }, "ValidationError", 400,
			"The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
		},
		"with a session policy that is no JSON": {
			func(in *sts.AssumeRoleWithWebIdentityInput) { in.Policy = aws.String("{") },
			"MalformedPolicyDocument", 400, "This policy contains invalid Json",
		},
		"with a session policy that allows nothing at all": {
			func(in *sts.AssumeRoleWithWebIdentityInput) { in.Policy = aws.String(`{"Version": "2012-10-17"}`) },
			"MalformedPolicyDocument", 400, "Syntax errors in policy.",
		},
		"with session policies that are too large": {func(in *sts.AssumeRoleWithWebIdentityInput) {
			in.Policy = aws.String(`{"Statement": {}, "Id": "` + strings.Repeat("x", 1900) + `"}`)
			for i := range 4 {
				in.PolicyArns = append(in.PolicyArns, types.PolicyDescriptorType{Arn: aws.String(fmt.Sprintf("arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess%d", i))})
			}
		}, "PackedPolicyTooLarge", 400, "Packed policy consumes 103% of allotted space, please use smaller policy."},
	} {
		t.Run(name, func(t *testing.T) {
			in := assume(good)
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
	if size := aws.ToInt32(answer.PackedPolicySize); size < 1 || size > 100 { //nolint:staticcheck // what has replaced it is of a size that AWS does not tell
		t.Errorf("the policies take %d %%", size)
	}
	if want := d.clock.Now().Add(15 * time.Minute); !answer.Credentials.Expiration.Equal(want) {
		t.Errorf("they expire at %s, want %s", answer.Credentials.Expiration, want)
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
		"sub and aud are equal":                                   {conditions: minimalConditions, allowed: true},
		"no condition":                                            {conditions: `{}`, allowed: true},
		"sub is like a pattern":                                   {conditions: `{"StringLike": {"ISSUER:sub": "system:serviceaccount:shop:*"}}`, allowed: true},
		"sub is like none":                                        {conditions: `{"StringLike": {"ISSUER:sub": "system:serviceaccount:other:*"}}`},
		"a pattern is no pattern to StringEquals":                 {conditions: `{"StringEquals": {"ISSUER:sub": "system:serviceaccount:shop:*"}}`},
		"one of several subjects":                                 {conditions: `{"StringEquals": {"ISSUER:sub": ["system:serviceaccount:shop:other", "` + subject + `"]}}`, allowed: true},
		"the condition key of another issuer":                     {conditions: `{"StringEquals": {"oidc.example.com:sub": "` + subject + `"}}`},
		"the condition key of another issuer, if it exists":       {conditions: `{"StringEqualsIfExists": {"oidc.example.com:sub": "x"}}`, allowed: true},
		"the session's name":                                      {conditions: `{"StringEquals": {"sts:RoleSessionName": "` + session + `"}}`, allowed: true},
		"amr has any of the values":                               {conditions: `{"ForAnyValue:StringLike": {"ISSUER:amr": "authenticated"}}`, claims: map[string]any{"amr": []string{"authenticated", "mfa"}}, allowed: true},
		"amr is missing":                                          {conditions: `{"ForAnyValue:StringLike": {"ISSUER:amr": "authenticated"}}`},
		"amr is missing, which all values may be":                 {conditions: `{"ForAllValues:StringEquals": {"ISSUER:amr": "authenticated"}}`, allowed: true},
		"sub is not among those":                                  {conditions: `{"StringNotEquals": {"ISSUER:sub": "system:serviceaccount:shop:other"}}`, allowed: true},
		"sub must not be there":                                   {conditions: `{"Null": {"ISSUER:sub": "true"}}`},
		"two operators, of which one does not hold":               {conditions: `{"StringEquals": {"ISSUER:aud": "` + audience + `"}, "StringLike": {"ISSUER:sub": "nobody*"}}`},
		"a time that has not come":                                {conditions: `{"DateGreaterThan": {"aws:CurrentTime": "2099-01-01T00:00:00Z"}}`},
		"a time that is not over":                                 {conditions: `{"DateLessThan": {"aws:CurrentTime": "2099-01-01T00:00:00Z"}}`, allowed: true},
		"a time that is over, if it exists":                       {conditions: `{"DateLessThanIfExists": {"aws:EpochTime": "2020-01-01T00:00:00Z"}}`},
		"the address of the caller":                               {conditions: `{"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}`, allowed: true},
		"an address that is not the caller's, if it exists":       {conditions: `{"IpAddressIfExists": {"aws:SourceIp": "203.0.113.0/24"}}`},
		"a call without TLS, if it exists":                        {conditions: `{"BoolIfExists": {"aws:SecureTransport": "true"}}`},
		"a program that may not":                                  {conditions: `{"StringNotLike": {"aws:UserAgent": "aws-sdk-go-v2/*"}}`},
		"an audience that the provider has and the policy hasn't": {conditions: `{"StringEquals": {"ISSUER:aud": "other"}}`},
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
	ask := func() error {
		in := assume(c.sign(t, c.claims(d.clock.Now())))
		in.RoleArn = aws.String(roleARN("for-a-minute"))
		_, err := d.sts(nil).AssumeRoleWithWebIdentity(t.Context(), in)
		return err
	}
	expectNone(t, ask())
	d.clock.add(2 * time.Minute)
	expectError(t, ask(), "AccessDenied", 403, "Not authorized to perform sts:AssumeRoleWithWebIdentity")
}

func TestKeyCache_refresh(t *testing.T) {
	d, c := prepared(t)
	ask := func() error {
		_, err := d.sts(nil).AssumeRoleWithWebIdentity(t.Context(), assume(c.sign(t, c.claims(d.clock.Now()))))
		return err
	}
	reads := func() int {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.reads
	}
	for range 3 {
		if err := ask(); err != nil {
			t.Fatal(err)
		}
	}
	if got := reads(); got != 1 {
		t.Errorf("the keys were read %d times for one key", got)
	}
	c.rotate(t)
	for range 3 {
		if err := ask(); err == nil {
			t.Error("an unknown key was found without reading anew within a second")
		}
	}
	d.clock.add(time.Second)
	if err := ask(); err != nil {
		t.Error(err)
	}
	if got := reads(); got != 2 {
		t.Errorf("the keys were read %d times for two keys", got)
	}
	c.mu.Lock()
	c.keyCache = []crypto.PublicKey{newKey(t).Public()}
	c.mu.Unlock()
	d.clock.add(time.Minute)
	if err := ask(); err == nil {
		t.Error("a key that is not published any more is still good after a minute")
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
		t.Errorf("it answers again, but: %v", err)
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
	good := c.sign(t, c.claims(d.clock.Now()))
	answer, err := d.sts(nil).AssumeRoleWithWebIdentity(t.Context(), assume(good))
	expectNone(t, err)
	_, err = d.sts(temporary(answer.Credentials)).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	expectNone(t, err)
	claims := c.claims(d.clock.Now())
	claims["sub"] = "system:serviceaccount:shop:other"
	foreign := c.sign(t, claims)
	_, _ = d.sts(nil).AssumeRoleWithWebIdentity(t.Context(), assume(foreign))
	mistaken := assume(good)
	mistaken.RoleSessionName = aws.String(good) // it is quoted in the answer
	_, err = d.sts(nil).AssumeRoleWithWebIdentity(t.Context(), mistaken)
	expectError(t, err, "ValidationError", 400, "1 validation error detected: Value '"+good+"' at 'roleSessionName'...")
	d.server.Close() // so that all is logged
	for _, want := range []string{`"subject":"system:serviceaccount:shop:other"`, "trust policy does not allow it", `"action":"GetCallerIdentity"`, "Value '(a token)' at 'roleSessionName'"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, &log)
		}
	}
	for _, never := range []string{good, foreign, *answer.Credentials.SecretAccessKey, *answer.Credentials.SessionToken, adminSecret} {
		if strings.Contains(log.String(), never) {
			t.Errorf("the log has %q", never)
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
		t.Errorf("there are %d roles, want 17", len(roles.Roles))
	}
}
