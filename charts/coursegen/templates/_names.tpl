{{/* Names and labels. Components add at most 23 characters (-worker- and a queue's name of at most 15) to the
     full name of at most 40, so that no name is longer than 63. */}}
{{- define "coursegen.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "coursegen.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "coursegen.name" . -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "coursegen.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end }}

{{/* Labels that selectors use; (list ROOT COMPONENT) */}}
{{- define "coursegen.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "coursegen.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Pods of several components, as a peer of a NetworkPolicy; (list ROOT COMPONENTS) */}}
{{- define "coursegen.components" -}}
{{- $root := index . 0 -}}
podSelector:
  matchLabels:
    app.kubernetes.io/name: {{ include "coursegen.name" $root }}
    app.kubernetes.io/instance: {{ $root.Release.Name }}
  matchExpressions:
    - {key: app.kubernetes.io/component, operator: In, values: {{ index . 1 | toJson }}}
{{- end }}

{{/* Labels that another version of the chart does not change; (list ROOT COMPONENT) */}}
{{- define "coursegen.steadyLabels" -}}
{{- $root := index . 0 -}}
{{ include "coursegen.selector" . }}
app.kubernetes.io/part-of: coursegen
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Labels of an object; (list ROOT COMPONENT) */}}
{{- define "coursegen.labels" -}}
{{- $root := index . 0 -}}
{{ include "coursegen.steadyLabels" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* What every object's metadata holds; (list ROOT COMPONENT NAME [ANNOTATIONS [LABELS]]) */}}
{{- define "coursegen.metadata" -}}
{{- $root := index . 0 -}}
name: {{ index . 2 }}
namespace: {{ include "coursegen.namespace" $root }}
labels:
  {{- include "coursegen.labels" (list $root (index . 1)) | nindent 2 }}
  {{- if gt (len .) 4 }}{{ with index . 4 }}{{ . | nindent 2 }}{{ end }}{{ end }}
{{- $annotations := dict -}}
{{- if gt (len .) 3 }}{{ $annotations = index . 3 | default dict }}{{ end -}}
{{- with merge dict $annotations $root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Image of a process; (list ROOT PROCESS IMAGE-VALUES). A digest wins over the tag; both are shown. */}}
{{- define "coursegen.image" -}}
{{- $root := index . 0 -}}
{{- $own := index . 2 -}}
{{- $registry := coalesce $own.registry $root.Values.global.imageRegistry $root.Values.image.registry -}}
{{- $repository := default (printf "%s%s" $root.Values.image.repositoryPrefix (index . 1)) $own.repository -}}
{{- $tag := coalesce $own.tag $root.Values.image.tag $root.Chart.AppVersion -}}
{{- printf "%s/%s:%s" $registry $repository $tag -}}
{{- with $own.digest }}@{{ . }}{{ end -}}
{{- end }}

{{/* Name of a component's service account; (list ROOT COMPONENT VALUES) */}}
{{- define "coursegen.serviceAccount" -}}
{{- $account := (index . 2).serviceAccount -}}
{{- if $account.create -}}
{{- default (printf "%s-%s" (include "coursegen.fullname" (index . 0)) (index . 1)) $account.name -}}
{{- else -}}
{{- default "default" $account.name -}}
{{- end -}}
{{- end }}

{{/* A setting's value as text: large numbers stay digits. */}}
{{- define "coursegen.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}{{ int64 . }}{{- else -}}{{ . }}{{- end -}}
{{- end }}
