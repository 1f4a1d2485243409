{{/* What the resources of the operator have in common. */}}

{{/* Labels of the pods of a Job: a NetworkPolicy lets them in by their component; (list ROOT COMPONENT) */}}
{{- define "coursegen.jobLabels" -}}
{{ include "coursegen.selector" . }}
app.kubernetes.io/part-of: coursegen
{{- end }}

{{/* Where the owner's address is, and what runs; (list ROOT COMPONENT VALUES). */}}
{{- define "coursegen.ownerJob" -}}
{{- $root := index . 0 -}}
{{- $values := index . 2 -}}
databaseSecretRef: {{ include "coursegen.secretReference" (list $root $root.Values.database.migrations "owner-database-url" "owner-database-url") }}
image: {{ include "coursegen.image" (list $root "migrate" $values.image) }}
imagePullPolicy: {{ default $root.Values.image.pullPolicy $values.image.pullPolicy }}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
{{- end }}
