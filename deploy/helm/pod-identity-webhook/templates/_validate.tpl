{{/*
Fails for values that the schema cannot reject, because they are invalid only in
combination. Each message has the name of a value, and a valid example.
*/}}
{{- define "webhook.validate" -}}
{{- $v := .Values -}}
{{- $mistakes := list -}}
{{- $fullname := include "webhook.fullname" . -}}
{{- if not (regexMatch `^[a-z]([-a-z0-9]*[a-z0-9])?$` $fullname) -}}
{{- $mistakes = append $mistakes (printf "the name %q from the release name is not valid for a Service: set fullnameOverride, such as pod-identity-webhook" $fullname) -}}
{{- end -}}
{{- if eq (int $v.port) (int $v.metricsPort) -}}
{{- $mistakes = append $mistakes (printf "port and metricsPort are both %d: must differ, such as 8443 and 9999" (int $v.port)) -}}
{{- end -}}
{{- $usual := dict "tokenMountPath" $v.tokenMountPath -}}
{{- if $v.containerCredentials.configMapName -}}
{{- $_ := set $usual "the path of the token of EKS Pod Identity" "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount" -}}
{{- range $v.extraArgs -}}
{{- if hasPrefix "--container-credentials-token-mount-path=" . -}}
{{- $_ := set $usual "the path of the token of EKS Pod Identity" (trimPrefix "--container-credentials-token-mount-path=" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- /* Most images have /var/run as a symbolic link to /run. */}}
{{- $fallback := regexReplaceAll "^/var/run/" (printf "%s/" (clean $v.tokenFallbackMountPath)) "/run/" -}}
{{- range $name, $path := $usual -}}
{{- $at := regexReplaceAll "^/var/run/" (printf "%s/" (clean $path)) "/run/" -}}
{{- if or (hasPrefix $at $fallback) (hasPrefix $fallback $at) -}}
{{- $mistakes = append $mistakes (printf "tokenFallbackMountPath is %s: must not be, contain or be inside %s, which is %s; use another directory, such as %s" $v.tokenFallbackMountPath $name $path
  (ternary "/aws-token/serviceaccount" "/eks.amazonaws.com/serviceaccount" (hasPrefix "/eks.amazonaws.com/" $at))) -}}
{{- end -}}
{{- end -}}
{{- $mistakes = concat $mistakes (include "webhook.certificateMistakes" . | fromYamlArray) (include "webhook.unusedMistakes" . | fromYamlArray)
  (include "webhook.podMistakes" . | fromYamlArray) -}}
{{- with $mistakes -}}
{{- fail (join "\n" . | printf "invalid values:\n%s") -}}
{{- end -}}
{{- end -}}

{{/* A duration such as 720h in seconds. */}}
{{- define "webhook.seconds" -}}
{{- $epoch := toDate "2006-01-02" "2000-01-01" -}}
{{- sub ($epoch | mustDateModify . | unixEpoch | int64) ($epoch | unixEpoch | int64) -}}
{{- end -}}

{{/* A quantity of Kubernetes or a size of Go in bytes, such as 256Mi and 200MiB. */}}
{{- define "webhook.bytes" -}}
{{- $text := toString . -}}
{{- $number := regexFind `^[0-9.]+(e\+?[0-9]+)?` $text -}}
{{- $factors := dict "" 1 "B" 1 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18
  "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624 "Ei" 1152921504606846976 -}}
{{- mulf (float64 $number) (get $factors ($text | trimPrefix $number | replace "iB" "i")) -}}
{{- end -}}

{{/* The mistakes in lifetimes, as a list. */}}
{{- define "webhook.certificateMistakes" -}}
{{- $c := .Values.certificates -}}
{{- $mistakes := list -}}
{{- if ne $c.source "secret" -}}
{{- $ca := include "webhook.seconds" $c.caLifetime | int64 -}}
{{- $cert := include "webhook.seconds" $c.certLifetime | int64 -}}
{{- $least := ternary "10s" "1h" (eq $c.source "self") -}}
{{- if lt $cert (include "webhook.seconds" $least | int64) -}}
{{- $mistakes = append $mistakes (printf "certificates.certLifetime is %s: must be at least %s, such as 720h" $c.certLifetime $least) -}}
{{- end -}}
{{- if and (lt $ca (mul 3 $cert)) (not $c.certManager.issuerRef.name) -}}
{{- $mistakes = append $mistakes (printf "certificates.caLifetime is %s: must be at least three times certificates.certLifetime, which is %s, such as 8760h and 720h" $c.caLifetime $c.certLifetime) -}}
{{- end -}}
{{- range $severity, $example := dict "warning" 7 "critical" 1 -}}
{{- $days := get $.Values.prometheusRule.certificateDaysLeft $severity -}}
{{- if and $.Values.prometheusRule.enabled (ge (mulf $days 3 86400) (float64 $cert)) -}}
{{- $mistakes = append $mistakes (printf "prometheusRule.certificateDaysLeft.%s is %v: must be less than a third of certificates.certLifetime, which is %s, such as %d for 720h" $severity $days $c.certLifetime $example) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $ca := printf "%s-ca" (include "webhook.fullname" .) -}}
{{- if and (eq $c.source "cert-manager") (not $c.certManager.issuerRef.name) (eq $c.secretName $ca) -}}
{{- $mistakes = append $mistakes (printf "certificates.secretName is %s: must not be the Secret of the CA, such as %s-tls" $ca (include "webhook.fullname" .)) -}}
{{- end -}}
{{- if ne $c.source "secret" -}}
{{- range $key, $_ := merge dict .Values.webhookAnnotations .Values.commonAnnotations -}}
{{- if hasPrefix "cert-manager.io/inject-" $key -}}
{{- $mistakes = append $mistakes (printf "webhookAnnotations or commonAnnotations have %s: certificates.source sets the caBundle, use for example cert-manager" $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $mistakes -}}
{{- end -}}

{{/* Values that would silently have no effect, as a list. */}}
{{- define "webhook.unusedMistakes" -}}
{{- $v := .Values -}}
{{- $issuer := $v.certificates.certManager.issuerRef -}}
{{- $mistakes := list -}}
{{- range list
  (list "certificates.certManager.issuerRef.name" $issuer.name (eq $v.certificates.source "cert-manager") "certificates.source: cert-manager")
  (list "certificates.certManager.issuerRef.kind" (without (list $issuer.kind) "Issuer" | first) $issuer.name "certificates.certManager.issuerRef.name, such as company")
  (list "certificates.certManager.issuerRef.group" (without (list $issuer.group) "cert-manager.io" | first) $issuer.name "certificates.certManager.issuerRef.name, such as company")
  (list "clientCANames" $v.clientCANames $v.clientCAConfigMap "clientCAConfigMap, such as api-server-ca")
  (list "awsAccountID" $v.awsAccountID $v.composeRoleARN "composeRoleARN: true")
  (list "awsPartition" (without (list $v.awsPartition) "aws" | first) $v.awsAccountID "awsAccountID, such as \"111122223333\"")
  (list "serviceAccountValidationFailurePolicy" $v.serviceAccountValidationFailurePolicy (ne (include "webhook.word" $v.serviceAccountValidation) "off") "serviceAccountValidation: warn or deny") -}}
{{- if and (index . 1) (not (index . 2)) -}}
{{- $mistakes = append $mistakes (printf "%s is %v: no effect without %s" (index . 0) (index . 1) (index . 3)) -}}
{{- end -}}
{{- end -}}
{{- if and .Chart.IsRoot (eq (toString $v.enabled) "false") -}}
{{- $mistakes = append $mistakes "enabled is false: no effect unless this is a subchart with the condition pod-identity-webhook.enabled" -}}
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
{{- $mistakes = append $mistakes (printf "%s has %s, which the chart sets itself: must be another name, such as example.com/team or team" $name .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $name, $annotations := dict
  "service.annotations" $v.service.annotations
  "commonAnnotations" $v.commonAnnotations
  "podAnnotations" $v.podAnnotations
  "deploymentAnnotations" $v.deploymentAnnotations
  "webhookAnnotations" $v.webhookAnnotations
  "serviceAccount.annotations" $v.serviceAccount.annotations
  "metricsService.annotations" $v.metricsService.annotations
  "serviceMonitor.annotations" $v.serviceMonitor.annotations
  "prometheusRule.annotations" $v.prometheusRule.annotations
  "dashboard.annotations" $v.dashboard.annotations -}}
{{- range $key, $_ := $annotations -}}
{{- if hasPrefix "helm.sh/" $key -}}
{{- /* A webhook configuration that stays after the chart is uninstalled rejects pods. */}}
{{- $mistakes = append $mistakes (printf "%s has %s, by which Helm may keep or recreate an object: must be another name, such as example.com/team" $name $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $values := include "webhook.flagValues" . | fromYaml -}}
{{- range $v.extraArgs -}}
{{- $flag := regexReplaceAll `^--?([^=]+)(=.*)?$` . "${1}" -}}
{{- with get $values $flag -}}
{{- $mistakes = append $mistakes (printf "extraArgs has --%s: must be given by %s" $flag .) -}}
{{- end -}}
{{- end -}}
{{- toYaml $mistakes -}}
{{- end -}}

{{/* The mistakes that would keep the pods of the webhook from running, as a list. */}}
{{- define "webhook.podMistakes" -}}
{{- $v := .Values -}}
{{- $mistakes := list -}}
{{- range $v.extraEnv -}}
{{- if eq .name "GOMEMLIMIT" -}}
{{- $mistakes = append $mistakes "extraEnv has GOMEMLIMIT: must be given by goMemLimit, such as 200MiB" -}}
{{- end -}}
{{- end -}}
{{- $names := list "no-mirror-pods" "the-role-of-this-pod" -}}
{{- range $v.extraMatchConditions -}}
{{- if has .name $names -}}
{{- $mistakes = append $mistakes (printf "extraMatchConditions has %s, which already exists: use another name, such as example.com/no-jobs" .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- with $v.goMemLimit -}}
{{- $limit := include "webhook.bytes" . | float64 -}}
{{- if lt $limit (float64 33554432) -}}
{{- $mistakes = append $mistakes (printf "goMemLimit is %s: must be at least 32MiB, such as 200MiB" .) -}}
{{- end -}}
{{- $memory := dig "limits" "memory" "" $v.resources -}}
{{- if and $memory (ge $limit (include "webhook.bytes" $memory | float64)) -}}
{{- $mistakes = append $mistakes (printf "goMemLimit is %s: must be below resources.limits.memory, which is %v, such as 200MiB and 256Mi" . $memory) -}}
{{- end -}}
{{- end -}}
{{- $budget := $v.podDisruptionBudget -}}
{{- $replicas := int $v.replicas -}}
{{- $unavailable := int (toString $budget.maxUnavailable | trimSuffix "%") -}}
{{- $share := "" -}}
{{- if hasSuffix "%" (toString $budget.maxUnavailable) -}}
{{- /* Kubernetes rounds up. */}}
{{- $unavailable = div (add (mul $unavailable $replicas) 99) 100 | int -}}
{{- $share = printf ", that is, %d pods" $unavailable -}}
{{- end -}}
{{- if and $budget.enabled (gt $replicas 1) (ge $unavailable $replicas) -}}
{{- $mistakes = append $mistakes (printf "podDisruptionBudget.maxUnavailable is %v%s: must be less than replicas, which is %d, such as 1" $budget.maxUnavailable $share $replicas) -}}
{{- end -}}
{{- toYaml $mistakes -}}
{{- end -}}

{{/* The value that sets each flag. */}}
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
