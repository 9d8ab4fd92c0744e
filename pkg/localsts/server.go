// Package localsts plays the part of AWS for a cluster that has no AWS account: STS
// AssumeRoleWithWebIdentity and GetCallerIdentity, and the calls of IAM by which the
// provider and the roles for it are made. It is a test double for people. It verifies
// tokens and evaluates trust policies for real, but the credentials that it gives
// open nothing but itself, and it must never stand between anybody and anything of
// worth.
//
// Where its rules come from is said at each: from the STS and IAM API references and
// the IAM User Guide of AWS, by the name of the page; or from what users of AWS
// report, where AWS documents nothing. docs/local-sts.md sums it up.
package localsts

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"time"

	"github.com/go-chi/chi/v5"
)

// partition is the only one.
const partition = "aws"

// adminID is the unique id of the administrator, of IAM's shape for users.
const adminID = "AIDALOCALSTSADMIN0000"

var (
	accountID = regexp.MustCompile(`^\d{12}$`)
	// accessKeyID is IAM's shape for the keys of users.
	accessKeyID = regexp.MustCompile(`^\w{16,128}$`)
)

// Options say whose STS it is.
type Options struct {
	// AccountID is of 12 digits.
	AccountID string
	// StateFile keeps providers and roles across restarts; empty for memory alone.
	StateFile string
	// AdminAccessKeyID and AdminSecretAccessKey sign the calls of IAM.
	AdminAccessKeyID, AdminSecretAccessKey string
	// PolicyARNs are of policies that are taken to exist, beside all those of AWS.
	PolicyARNs []string
	// IssuerClient reads what issuers publish; nil is http.DefaultClient.
	IssuerClient *http.Client
	// Now tells the time; nil is time.Now.
	Now func() time.Time
	// Logger gets a line for each call; nil discards them.
	Logger *slog.Logger
}

// Server is the handler of all calls. Its methods may be called concurrently.
type Server struct {
	options  Options
	store    *store
	keyCache *keyCache
	routes   http.Handler
}

// New returns a server that has read its state.
func New(options Options) (*Server, error) {
	switch {
	case !accountID.MatchString(options.AccountID):
		return nil, fmt.Errorf("account id %q: it is of 12 digits", options.AccountID)
	case !accessKeyID.MatchString(options.AdminAccessKeyID):
		return nil, fmt.Errorf("access key id %q: it is of 16 to 128 letters and digits", options.AdminAccessKeyID)
	case options.AdminSecretAccessKey == "":
		return nil, errors.New("the administrator's secret access key is empty")
	}
	for _, arn := range options.PolicyARNs {
		if !policyARNs.MatchString(arn) {
			return nil, fmt.Errorf("policy %q: it is no ARN of a policy", arn)
		}
	}
	if options.IssuerClient == nil {
		options.IssuerClient = http.DefaultClient
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	state, err := openStore(options.StateFile, options.AccountID)
	if err != nil {
		return nil, err
	}
	s := &Server{options: options, store: state, keyCache: newKeyCache(options.IssuerClient, options.Now)}
	router := chi.NewRouter()
	router.Get("/healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	router.Get("/", s.serve)
	router.Post("/", s.serve)
	s.routes = router
	return s, nil
}

// ServeHTTP answers calls of the query APIs at / and probes at /healthz.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.routes.ServeHTTP(w, r) }

// serve answers a call, and logs it.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	requestID := newRequestID()
	c := &call{ctx: r.Context(), logger: s.options.Logger.With("requestId", requestID)}
	namespace, result, err := s.handle(c, w, r)
	if err == nil {
		var body []byte
		if body, err = encodeResult(namespace, c.action, result, requestID); err == nil {
			c.logger.InfoContext(c.ctx, "answered", "action", c.action, "caller", c.caller.arn)
			write(w, http.StatusOK, requestID, body)
			return
		}
	}
	refusal, ok := errors.AsType[*apiError](err)
	if !ok {
		c.logger.ErrorContext(c.ctx, "failed", "action", c.action, "caller", c.caller.arn, "error", err)
		refusal = internalError()
	} else {
		c.logger.InfoContext(c.ctx, "refused", "action", c.action, "caller", c.caller.arn, "code", refusal.code, "message", truncate(redactTokens(refusal.message)))
	}
	body, err := encodeError(namespace, refusal, requestID)
	if err != nil {
		c.logger.ErrorContext(c.ctx, "an answer cannot be written", "error", err)
	}
	write(w, refusal.status, requestID, body)
}

// handle returns the namespace of the answer even if there is an error.
func (s *Server) handle(c *call, w http.ResponseWriter, r *http.Request) (namespace string, result any, err error) {
	body, err := readBody(w, r)
	if err != nil {
		return faultNamespace, nil, err
	}
	asked, err := parseQuery(r.URL.RawQuery, r.Header.Get("Content-Type"), body)
	if err != nil {
		return faultNamespace, nil, err
	}
	called, known := apis[asked.version]
	if !known {
		called.namespace = faultNamespace
	}
	if asked.action == "" {
		return called.namespace, nil, missingAction()
	}
	operation, known := operations[called.service+":"+asked.action]
	if !known {
		return called.namespace, nil, invalidAction(truncate(asked.action), truncate(asked.version))
	}
	c.action, c.values, c.keyCache = asked.action, asked.values, requestKeys(r, s.options.Now())
	if operation.signed {
		if c.caller, err = s.authenticate(r, body, called.service); err != nil {
			return called.namespace, nil, err
		}
	}
	if operation.admin && !c.caller.admin {
		return called.namespace, nil, c.caller.accessDenied(called.service+":"+c.action, s.resource(c))
	}
	result, err = operation.run(s, c)
	return called.namespace, result, err
}

// maxQuotedLength is how much of what somebody has sent is quoted where it has no bound
// of its own.
const maxQuotedLength = 1000

func truncate(s string) string {
	if runes := []rune(s); len(runes) > maxQuotedLength {
		return string(runes[:maxQuotedLength]) + "..."
	}
	return s
}

// tokens are JSON Web Tokens: their header is the base64 of what begins with {".
var tokens = regexp.MustCompile(`eyJ[\w-]*\.[\w-]*(\.[\w-]*)?`)

// redactTokens is for the log: an answer quotes what is wrong with a parameter, which
// may be a token that was given in the place of another.
func redactTokens(s string) string { return tokens.ReplaceAllString(s, "(a token)") }

// resource is what a call of IAM is about, for the message that refuses it.
func (s *Server) resource(c *call) string {
	if arn := c.values.Get("OpenIDConnectProviderArn"); arn != "" {
		return stripControlChars(arn)
	}
	if name := c.values.Get("RoleName"); name != "" {
		return "arn:" + partition + ":iam::" + s.store.view().ID + ":role/" + stripControlChars(name)
	}
	return "*"
}
