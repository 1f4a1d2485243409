{{/* Names and labels. The full name is of at most 40, as in the chart coursegen. */}}
{{- define "coursegen-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "coursegen-operator.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "coursegen-operator.name" . -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "coursegen-operator.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end }}

{{- define "coursegen-operator.leaseName" -}}
{{- default (include "coursegen-operator.fullname" .) .Values.leaderElection.leaseName -}}
{{- end }}

{{/* Labels that selectors use. */}}
{{- define "coursegen-operator.selector" -}}
app.kubernetes.io/name: {{ include "coursegen-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{/* Labels of an object. */}}
{{- define "coursegen-operator.labels" -}}
{{ include "coursegen-operator.selector" . }}
app.kubernetes.io/part-of: coursegen
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Name of objects that belong to the whole cluster, with room for -view: no other release has it, also where it is cut. */}}
{{- define "coursegen-operator.clusterName" -}}
{{- $whole := printf "%s-%s" (include "coursegen-operator.namespace" .) (include "coursegen-operator.fullname" .) -}}
{{- if le (len $whole) 58 -}}
{{- $whole -}}
{{- else -}}
{{- printf "%s-%s" ($whole | trunc 49 | trimSuffix "-") ($whole | sha256sum | trunc 8) -}}
{{- end -}}
{{- end }}

{{/* Metadata of an object that belongs to the whole cluster; (list ROOT NAME [LABELS]) */}}
{{- define "coursegen-operator.clusterMetadata" -}}
{{- $root := index . 0 -}}
name: {{ index . 1 }}
labels:
  {{- include "coursegen-operator.labels" $root | nindent 2 }}
  {{- if gt (len .) 2 }}
  {{- toYaml (index . 2) | nindent 2 }}
  {{- end }}
{{- with $root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Metadata of an object; (list ROOT NAME NAMESPACE [ANNOTATIONS]) */}}
{{- define "coursegen-operator.metadata" -}}
{{- $root := index . 0 -}}
name: {{ index . 1 }}
namespace: {{ index . 2 }}
labels:
  {{- include "coursegen-operator.labels" $root | nindent 2 }}
{{- $annotations := dict -}}
{{- if gt (len .) 3 }}{{ $annotations = index . 3 | default dict }}{{ end -}}
{{- with merge dict $annotations $root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The image. A digest wins over the tag; both are shown. */}}
{{- define "coursegen-operator.image" -}}
{{- $registry := coalesce .Values.global.imageRegistry .Values.image.registry -}}
{{- printf "%s/%s:%s" $registry .Values.image.repository (coalesce .Values.image.tag .Chart.AppVersion) -}}
{{- with .Values.image.digest }}@{{ . }}{{ end -}}
{{- end }}

{{- define "coursegen-operator.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "coursegen-operator.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{/* Namespaces of `scope: namespaced`, as JSON in a dict, since a template gives back text. */}}
{{- define "coursegen-operator.watched" -}}
{{- $namespaces := list -}}
{{- if eq .Values.scope "namespaced" -}}
{{- $namespaces = .Values.watchNamespaces | default (list (include "coursegen-operator.namespace" .)) -}}
{{- end -}}
{{- dict "namespaces" ($namespaces | uniq | sortAlpha) | toJson -}}
{{- end }}

{{/* A setting's value as text: large numbers stay digits. */}}
{{- define "coursegen-operator.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}{{ int64 . }}{{- else -}}{{ . }}{{- end -}}
{{- end }}
