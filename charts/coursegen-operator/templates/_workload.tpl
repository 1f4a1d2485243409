{{/* What the Deployment is made of, and the checks ask for too. */}}

{{/* How the one pod that reconciles is found: none has no second one to wait for, and none may be beside it. */}}
{{- define "coursegen-operator.election" -}}
{{- default "lease" .Values.config.OPERATOR_ELECTION -}}
{{- end }}

{{/* The three probes, with the values' own fields; VALUES. Startup is patient, liveness asks the process only, readiness asks for the
     API server. */}}
{{- define "coursegen-operator.probes" -}}
{{- $startup := dict "httpGet" (dict "path" "/livez" "port" "metrics") "periodSeconds" 2 "timeoutSeconds" 3 "failureThreshold" 60 -}}
{{- $liveness := dict "httpGet" (dict "path" "/livez" "port" "metrics") "periodSeconds" 10 "timeoutSeconds" 5 "failureThreshold" 6 -}}
{{- $readiness := dict "httpGet" (dict "path" "/readyz" "port" "metrics") "periodSeconds" 3 "timeoutSeconds" 4 "failureThreshold" 3 -}}
startupProbe:
  {{- toYaml (mergeOverwrite $startup (deepCopy .probes.startup)) | nindent 2 }}
livenessProbe:
  {{- toYaml (mergeOverwrite $liveness (deepCopy .probes.liveness)) | nindent 2 }}
readinessProbe:
  {{- toYaml (mergeOverwrite $readiness (deepCopy .probes.readiness)) | nindent 2 }}
{{- end }}
