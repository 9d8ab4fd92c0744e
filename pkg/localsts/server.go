// Package localsts is a fake AWS for a cluster that has no AWS account. It implements
// AssumeRoleWithWebIdentity and GetCallerIdentity of STS, and the IAM calls that manage the
// OIDC provider and the roles. It verifies tokens and evaluates trust policies as AWS does.
// The credentials that it returns are valid only for this server. It is a tool for tests and
// development: do not let anything valuable trust it.
//
// Comments cite the source of each rule. It is a page of AWS's STS API reference, IAM API
// reference or IAM User Guide, by its name. If AWS documents nothing, the source is reports
// of users. The page docs/local-sts.md lists all sources.
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

// partition is the only partition that the server supports.
const partition = "aws"

// adminID is the unique ID of the administrator, in IAM's format for users.
const adminID = "AIDALOCALSTSADMIN0000"

var (
	accountID = regexp.MustCompile(`^\d{12}$`)
	// accessKeyID matches IAM's format of access key IDs.
	accessKeyID = regexp.MustCompile(`^\w{16,128}$`)
)

// Options configure a Server.
type Options struct {
	// AccountID is the account ID, 12 digits.
	AccountID string
	// StateFile is the file that keeps providers and roles across restarts. If it is empty,
	// the server keeps them only in memory.
	StateFile string
	// AdminAccessKeyID and AdminSecretAccessKey are the credentials of the administrator,
	// the only caller that can use IAM.
	AdminAccessKeyID, AdminSecretAccessKey string
	// PolicyARNs are the ARNs of policies that exist in addition to the policies of AWS.
	PolicyARNs []string
	// IssuerClient reads the published documents of issuers. The default is
	// http.DefaultClient.
	IssuerClient *http.Client
	// Now returns the current time. The default is time.Now.
	Now func() time.Time
	// Logger logs each call. If it is nil, nothing is logged.
	Logger *slog.Logger
}

// Server is the HTTP handler of all calls. It is safe for concurrent use.
type Server struct {
	options  Options
	store    *store
	keyCache *keyCache
	routes   http.Handler
}

// New returns a server with the state in options.StateFile. It returns an error if an option
// is invalid or the state file cannot be read or created.
func New(options Options) (*Server, error) {
	switch {
	case !accountID.MatchString(options.AccountID):
		return nil, fmt.Errorf("account ID %q does not have 12 digits", options.AccountID)
	case !accessKeyID.MatchString(options.AdminAccessKeyID):
		return nil, fmt.Errorf("access key ID %q does not have 16 to 128 letters, digits and underscores", options.AdminAccessKeyID)
	case options.AdminSecretAccessKey == "":
		return nil, errors.New("administrator's secret access key is empty")
	}
	for _, arn := range options.PolicyARNs {
		if !policyARNs.MatchString(arn) {
			return nil, fmt.Errorf("%q is not the ARN of a policy", arn)
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

// ServeHTTP serves the query APIs at / and probes at /healthz.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.routes.ServeHTTP(w, r) }

// serve handles and logs one call.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	requestID := newRequestID()
	c := &call{ctx: r.Context(), logger: s.options.Logger.With("requestId", requestID)}
	namespace, result, err := s.handle(c, w, r)
	if err == nil {
		var body []byte
		if body, err = encodeResult(namespace, c.action, result, requestID); err == nil {
			c.logger.InfoContext(c.ctx, "Served call", "action", c.action, "caller", c.caller.arn)
			write(w, http.StatusOK, requestID, body)
			return
		}
	}
	apiErr, ok := errors.AsType[*apiError](err)
	if !ok {
		c.logger.ErrorContext(c.ctx, "Call failed", "action", c.action, "caller", c.caller.arn, "error", err)
		apiErr = internalError()
	} else {
		c.logger.InfoContext(c.ctx, "Rejected call", "action", c.action, "caller", c.caller.arn, "code", apiErr.code, "message", truncate(redactTokens(apiErr.message)))
	}
	body, err := encodeError(namespace, apiErr, requestID)
	if err != nil {
		c.logger.ErrorContext(c.ctx, "Could not encode response", "error", err)
	}
	write(w, apiErr.status, requestID, body)
}

// handle executes one call. It returns the result and the XML namespace of the response. With
// an error, it still returns the namespace.
func (s *Server) handle(c *call, w http.ResponseWriter, r *http.Request) (namespace string, result any, err error) {
	body, err := readBody(w, r)
	if err != nil {
		return faultNamespace, nil, err
	}
	request, err := parseQuery(r.URL.RawQuery, r.Header.Get("Content-Type"), body)
	if err != nil {
		return faultNamespace, nil, err
	}
	called, known := apis[request.version]
	if !known {
		called.namespace = faultNamespace
	}
	if request.action == "" {
		return called.namespace, nil, missingAction()
	}
	operation, known := operations[called.service+":"+request.action]
	if !known {
		return called.namespace, nil, invalidAction(truncate(request.action), truncate(request.version))
	}
	c.action, c.values, c.conditionKeys = request.action, request.values, requestConditionKeys(r, s.options.Now())
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

// maxQuotedLength is the maximum number of characters that a message quotes of input without
// a length limit.
const maxQuotedLength = 1000

// truncate shortens s to maxQuotedLength characters.
func truncate(s string) string {
	if runes := []rune(s); len(runes) > maxQuotedLength {
		return string(runes[:maxQuotedLength]) + "..."
	}
	return s
}

// tokens matches JSON Web Tokens. Their header is the base64 of JSON that starts with {".
var tokens = regexp.MustCompile(`eyJ[\w-]*\.[\w-]*(\.[\w-]*)?`)

// redactTokens replaces tokens in s before s is logged. Messages quote invalid parameters,
// and a client can send a token in the wrong parameter.
func redactTokens(s string) string { return tokens.ReplaceAllString(s, "(a token)") }

// resource returns the ARN of the provider or role of an IAM call, for the message of an
// AccessDenied error.
func (s *Server) resource(c *call) string {
	if arn := c.values.Get("OpenIDConnectProviderArn"); arn != "" {
		return stripControlChars(arn)
	}
	if name := c.values.Get("RoleName"); name != "" {
		return "arn:" + partition + ":iam::" + s.store.view().ID + ":role/" + stripControlChars(name)
	}
	return "*"
}
