{{- define "webhook.image" -}}
{{- if .Values.image.digest -}}
{{ printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else -}}
{{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) }}
{{- end -}}
{{- end -}}

{{/* A word that may be on or off, which YAML without quotes parses as true and false. */}}
{{- define "webhook.word" -}}
{{- if kindIs "bool" . }}{{ ternary "on" "off" . }}{{ else }}{{ . }}{{ end -}}
{{- end -}}

{{/* The flags of the webhook, as a list. */}}
{{- define "webhook.args" -}}
{{- $v := .Values -}}
{{- $fullname := include "webhook.fullname" . -}}
{{- $args := list
  (printf "--port=%d" (int $v.port))
  (printf "--metrics-port=%d" (int $v.metricsPort))
  (printf "--namespace=%s" .Release.Namespace) -}}
{{- if eq $v.certificates.source "self" -}}
{{- $args = concat $args (list
  (printf "--service-name=%s" $fullname)
  (printf "--tls-secret=%s" (include "webhook.secretName" .))
  (printf "--webhook-configuration=%s" (include "webhook.clusterName" .))
  (printf "--tls-ca-lifetime=%s" $v.certificates.caLifetime)
  (printf "--tls-cert-lifetime=%s" $v.certificates.certLifetime)) -}}
{{- else -}}
{{- $args = concat $args (list
  "--tls-cert=/etc/webhook/certs/tls.crt"
  "--tls-key=/etc/webhook/certs/tls.key") -}}
{{- end -}}
{{- $args = append $args (printf "--tls-min-version=%s" $v.tlsMinVersion) -}}
{{- with $v.tlsCipherSuites -}}
{{- $args = append $args (printf "--tls-cipher-suites=%s" (join "," .)) -}}
{{- end -}}
{{- if $v.clientCAConfigMap -}}
{{- $args = append $args "--client-ca-file=/etc/webhook/client-ca/ca.crt" -}}
{{- with $v.clientCANames -}}
{{- $args = append $args (printf "--client-ca-allowed-names=%s" (join "," .)) -}}
{{- end -}}
{{- end -}}
{{- $args = concat $args (list
  (printf "--annotation-prefix=%s" $v.annotationPrefix)
  (printf "--token-audience=%s" $v.tokenAudience)
  (printf "--token-expiration=%d" (int $v.tokenExpiration))
  (printf "--token-mount-path=%s" $v.tokenMountPath)
  (printf "--token-fallback-mount-path=%s" $v.tokenFallbackMountPath)) -}}
{{- with $v.awsRegion -}}
{{- $args = append $args (printf "--aws-default-region=%s" .) -}}
{{- end -}}
{{- if $v.stsRegionalEndpoint -}}
{{- $args = append $args "--sts-regional-endpoint" -}}
{{- end -}}
{{- with $v.stsEndpoint -}}
{{- $args = append $args (printf "--sts-endpoint=%s" .) -}}
{{- end -}}
{{- with $v.roleSessionName -}}
{{- $args = append $args (printf "--role-session-name=%s" .) -}}
{{- end -}}
{{- $args = append $args (printf "--service-account-lookup=%s" $v.serviceAccountLookup) -}}
{{- if $v.composeRoleARN -}}
{{- $args = append $args "--compose-role-arn" -}}
{{- end -}}
{{- with $v.awsAccountID -}}
{{- $args = concat $args (list (printf "--aws-account-id=%s" .) (printf "--aws-partition=%s" $v.awsPartition)) -}}
{{- end -}}
{{- if $v.watchConfigMap -}}
{{- $args = append $args "--watch-config-map" -}}
{{- end -}}
{{- with $v.containerCredentials -}}
{{- if .configMapName -}}
{{- $args = concat $args (list
  (printf "--watch-container-credentials-config=/etc/webhook/container-credentials/%s" .configMapKey)
  (printf "--container-credentials-audience=%s" .audience)
  (printf "--container-credentials-full-uri=%s" .fullURI)) -}}
{{- end -}}
{{- end -}}
{{- $args = concat $args (list
  (printf "--role-policy=%s" (include "webhook.word" $v.rolePolicy))
  (printf "--serviceaccount-validation=%s" (include "webhook.word" $v.serviceAccountValidation))) -}}
{{- if $v.debuggingHandlers -}}
{{- if $v.hostNetwork -}}
{{- fail "debuggingHandlers and hostNetwork are both true, so that each process of the node could use /debug: set debuggingHandlers to false" -}}
{{- end -}}
{{- $args = append $args "--enable-debugging-handlers" -}}
{{- end -}}
{{- $args = concat $args (list
  (printf "--shutdown-delay=%ds" (int $v.shutdownDelaySeconds))
  (printf "--shutdown-timeout=%ds" (int $v.shutdownTimeoutSeconds))) -}}
{{- if $v.logLevel -}}
{{- $args = append $args (printf "-v=%d" (int $v.logLevel)) -}}
{{- end -}}
{{- concat $args $v.extraArgs | toYaml -}}
{{- end -}}
