{{/* What the resources of the operator have in common. */}}

{{/* Labels of the pods of a Job: a NetworkPolicy lets them in by their component; (list ROOT COMPONENT) */}}
{{- define "coursegen.jobLabels" -}}
{{ include "coursegen.selector" . }}
app.kubernetes.io/part-of: coursegen
{{- end }}

{{/* Whether pods of the release remove old rows: "true", or nothing. */}}
{{- define "coursegen.retains" -}}
{{- $policies := list -}}
{{- range $name, $policy := .Values.retention.policies -}}
{{- if not (kindIs "invalid" $policy) -}}{{- $policies = append $policies $name -}}{{- end -}}
{{- end -}}
{{- if and (eq .Values.migrations.mode "operator") .Values.retention.enabled $policies -}}true{{- end -}}
{{- end }}

{{/* Of Deployments and their pods: which migrations they were rolled out with, so that the operator sees `kubectl rollout undo`. */}}
{{- define "coursegen.migrationsLabel" -}}
{{- if eq .Values.migrations.mode "operator" -}}
{{- $image := default (include "coursegen.image" (list . "migrate" .Values.migrations.image)) .Values.migrations.resource.spec.image -}}
ops.coursegen.dev/migrations: {{ $image | sha256sum | trunc 16 | quote }}
{{- end -}}
{{- end }}

{{/* Where the owner's address is, and what runs: the image that migrates also removes old rows. */}}
{{- define "coursegen.ownerJob" -}}
databaseSecretRef: {{ include "coursegen.secretReference" (list . .Values.database.migrations "owner-database-url" "owner-database-url") }}
image: {{ include "coursegen.image" (list . "migrate" .Values.migrations.image) }}
imagePullPolicy: {{ default .Values.image.pullPolicy .Values.migrations.image.pullPolicy }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}
