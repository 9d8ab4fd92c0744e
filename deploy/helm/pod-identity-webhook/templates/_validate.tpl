{{/*
Fails for values that the schema cannot refuse, since they are invalid only
together. Each message names a value, and shows what to write instead.
*/}}
{{- define "webhook.validate" -}}
{{- $v := .Values -}}
{{- $mistakes := list -}}
{{- $fullname := include "webhook.fullname" . -}}
{{- if not (regexMatch `^[a-z]([-a-z0-9]*[a-z0-9])?$` $fullname) -}}
{{- $mistakes = append $mistakes (printf "the release name gives the name %q, which no Service can have: set fullnameOverride, such as pod-identity-webhook" $fullname) -}}
{{- end -}}
{{- if eq (int $v.port) (int $v.metricsPort) -}}
{{- $mistakes = append $mistakes (printf "port and metricsPort are both %d: they must differ, such as 8443 and 9999" (int $v.port)) -}}
{{- end -}}
{{- $mistakes = concat $mistakes (include "webhook.certificateMistakes" . | fromYamlArray) (include "webhook.unusedMistakes" . | fromYamlArray)
  (include "webhook.podMistakes" . | fromYamlArray) -}}
{{- with $mistakes -}}
{{- fail (join "\n" . | printf "invalid values:\n%s") -}}
{{- end -}}
{{- end -}}

{{/* How long a duration such as 720h is, in seconds. */}}
{{- define "webhook.seconds" -}}
{{- $epoch := toDate "2006-01-02" "2000-01-01" -}}
{{- sub ($epoch | mustDateModify . | unixEpoch | int64) ($epoch | unixEpoch | int64) -}}
{{- end -}}

{{/* How many bytes a quantity of Kubernetes is, or a size of Go, such as 256Mi and 200MiB. */}}
{{- define "webhook.bytes" -}}
{{- $text := toString . -}}
{{- $number := regexFind `^[0-9.]+(e\+?[0-9]+)?` $text -}}
{{- $factors := dict "" 1 "B" 1 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18
  "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624 "Ei" 1152921504606846976 -}}
{{- mulf (float64 $number) (get $factors ($text | trimPrefix $number | replace "iB" "i")) -}}
{{- end -}}

{{/* What is wrong with lifetimes, as a list. */}}
{{- define "webhook.certificateMistakes" -}}
{{- $c := .Values.certificates -}}
{{- $mistakes := list -}}
{{- if ne $c.source "secret" -}}
{{- $ca := include "webhook.seconds" $c.caLifetime | int64 -}}
{{- $cert := include "webhook.seconds" $c.certLifetime | int64 -}}
{{- $least := ternary "10s" "1h" (eq $c.source "self") -}}
{{- if lt $cert (include "webhook.seconds" $least | int64) -}}
{{- $mistakes = append $mistakes (printf "certificates.certLifetime is %s: it must be at least %s, such as 720h" $c.certLifetime $least) -}}
{{- end -}}
{{- if and (lt $ca (mul 3 $cert)) (not $c.certManager.issuerRef.name) -}}
{{- $mistakes = append $mistakes (printf "certificates.caLifetime is %s: it must be at least three times certificates.certLifetime, which is %s, such as 8760h and 720h" $c.caLifetime $c.certLifetime) -}}
{{- end -}}
{{- $days := .Values.prometheusRule.certificateDaysLeft -}}
{{- if and .Values.prometheusRule.enabled (ge (mulf $days.warning 3 86400) (float64 $cert)) -}}
{{- $mistakes = append $mistakes (printf "prometheusRule.certificateDaysLeft.warning is %v: it must be less than a third of certificates.certLifetime, which is %s, such as 7 for 720h" $days.warning $c.certLifetime) -}}
{{- end -}}
{{- end -}}
{{- if ne $c.source "secret" -}}
{{- range $key, $_ := merge dict .Values.webhookAnnotations .Values.commonAnnotations -}}
{{- if hasPrefix "cert-manager.io/inject-" $key -}}
{{- $mistakes = append $mistakes (printf "the annotation %s is among webhookAnnotations or commonAnnotations: the caBundle comes from certificates.source, such as cert-manager" $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $mistakes -}}
{{- end -}}

{{/* Values that would silently have no effect, as a list. */}}
{{- define "webhook.unusedMistakes" -}}
{{- $v := .Values -}}
{{- $mistakes := list -}}
{{- range list
  (list "certificates.certManager.issuerRef.name" $v.certificates.certManager.issuerRef.name (eq $v.certificates.source "cert-manager") "certificates.source: cert-manager")
  (list "clientCANames" $v.clientCANames $v.clientCAConfigMap "clientCAConfigMap, such as api-server-ca")
  (list "awsAccountID" $v.awsAccountID $v.composeRoleARN "composeRoleARN: true")
  (list "awsPartition" (ternary "" $v.awsPartition (eq $v.awsPartition "aws")) $v.awsAccountID "awsAccountID, such as \"111122223333\"")
  (list "serviceAccountValidationFailurePolicy" $v.serviceAccountValidationFailurePolicy (ne (include "webhook.word" $v.serviceAccountValidation) "off") "serviceAccountValidation: warn or deny") -}}
{{- if and (index . 1) (not (index . 2)) -}}
{{- $mistakes = append $mistakes (printf "%s is %v: it has no effect without %s" (index . 0) (index . 1) (index . 3)) -}}
{{- end -}}
{{- end -}}
{{- if and .Chart.IsRoot (eq (toString $v.enabled) "false") -}}
{{- $mistakes = append $mistakes "enabled is false: it has no effect without a chart that this one is part of, whose dependency has the condition pod-identity-webhook.enabled" -}}
{{- end -}}
{{- $own := list "app.kubernetes.io/name" "app.kubernetes.io/instance" -}}
{{- range list
  (list "commonLabels" $v.commonLabels (concat $own (list "app.kubernetes.io/version" "app.kubernetes.io/managed-by" "helm.sh/chart")))
  (list "podLabels" $v.podLabels $own)
  (list "prometheusRule.alertLabels" $v.prometheusRule.alertLabels (list "severity")) -}}
{{- $name := index . 0 -}}
{{- $labels := index . 1 -}}
{{- range index . 2 -}}
{{- if hasKey $labels . -}}
{{- $mistakes = append $mistakes (printf "%s has %s, which the chart sets itself: it must be another name, such as example.com/team or team" $name .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $values := include "webhook.flagValues" . | fromYaml -}}
{{- range $v.extraArgs -}}
{{- $flag := regexReplaceAll `^--?([^=]+)(=.*)?$` . "${1}" -}}
{{- with get $values $flag -}}
{{- $mistakes = append $mistakes (printf "extraArgs has --%s: it must be given by %s" $flag .) -}}
{{- end -}}
{{- end -}}
{{- toYaml $mistakes -}}
{{- end -}}

{{/* What would keep the webhook's pods from running, as a list. */}}
{{- define "webhook.podMistakes" -}}
{{- $v := .Values -}}
{{- $mistakes := list -}}
{{- range $v.extraEnv -}}
{{- if eq .name "GOMEMLIMIT" -}}
{{- $mistakes = append $mistakes "extraEnv has GOMEMLIMIT: it must be given by goMemLimit, such as 200MiB" -}}
{{- end -}}
{{- end -}}
{{- with $v.goMemLimit -}}
{{- $limit := include "webhook.bytes" . | float64 -}}
{{- if lt $limit (float64 33554432) -}}
{{- $mistakes = append $mistakes (printf "goMemLimit is %s: it must be at least 32MiB, such as 200MiB" .) -}}
{{- end -}}
{{- $memory := dig "limits" "memory" "" $v.resources -}}
{{- if and $memory (ge $limit (include "webhook.bytes" $memory | float64)) -}}
{{- $mistakes = append $mistakes (printf "goMemLimit is %s: it must be below resources.limits.memory, which is %v, such as 200MiB and 256Mi" . $memory) -}}
{{- end -}}
{{- end -}}
{{- $budget := $v.podDisruptionBudget -}}
{{- if and $budget.enabled (not (kindIs "string" $budget.maxUnavailable)) (gt (int $v.replicas) 1) (ge (int $budget.maxUnavailable) (int $v.replicas)) -}}
{{- $mistakes = append $mistakes (printf "podDisruptionBudget.maxUnavailable is %d: it must be less than replicas, which is %d, such as 1" (int $budget.maxUnavailable) (int $v.replicas)) -}}
{{- end -}}
{{- toYaml $mistakes -}}
{{- end -}}

{{/* Which value gives a flag. */}}
{{- define "webhook.flagValues" -}}
annotation-prefix: annotationPrefix
aws-account-id: awsAccountID
aws-default-region: awsRegion
aws-partition: awsPartition
client-ca-allowed-names: clientCANames
client-ca-file: clientCAConfigMap
compose-role-arn: composeRoleARN
container-credentials-audience: containerCredentials.audience
container-credentials-full-uri: containerCredentials.fullURI
enable-debugging-handlers: debuggingHandlers
in-cluster: certificates.source
metrics-port: metricsPort
namespace: the namespace of the release
port: port
role-policy: rolePolicy
role-session-name: roleSessionName
service-account-lookup: serviceAccountLookup
service-name: fullnameOverride
serviceaccount-validation: serviceAccountValidation
shutdown-delay: shutdownDelaySeconds
shutdown-timeout: shutdownTimeoutSeconds
sts-endpoint: stsEndpoint
sts-regional-endpoint: stsRegionalEndpoint
tls-ca-lifetime: certificates.caLifetime
tls-cert: certificates.secretName
tls-cert-lifetime: certificates.certLifetime
tls-cipher-suites: tlsCipherSuites
tls-key: certificates.secretName
tls-min-version: tlsMinVersion
tls-secret: certificates.secretName
token-audience: tokenAudience
token-expiration: tokenExpiration
token-mount-path: tokenMountPath
token-fallback-mount-path: tokenFallbackMountPath
v: logLevel
watch-config-map: watchConfigMap
watch-container-credentials-config: containerCredentials.configMapName
webhook-configuration: fullnameOverride
{{- end -}}
