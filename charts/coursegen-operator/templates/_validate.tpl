{{/* What cannot work is refused with a sentence that says what to set. */}}
{{- define "coursegen-operator.validate" -}}
{{- $faults := list -}}
{{- if and (eq .Values.scope "cluster") .Values.watchNamespaces -}}
{{- $faults = append $faults "watchNamespaces: only with scope: namespaced; with scope: cluster every namespace is looked after" -}}
{{- end -}}
{{- if ge (addf .Values.drainSeconds 3) (float64 .Values.terminationGracePeriodSeconds) -}}
{{- $faults = append $faults "terminationGracePeriodSeconds: must be more than drainSeconds + 3" -}}
{{- end -}}
{{- range $where, $labels := dict "commonLabels" .Values.commonLabels "podLabels" .Values.podLabels -}}
{{- range $key, $_ := $labels -}}
{{- if or (hasPrefix "app.kubernetes.io/" $key) (eq $key "helm.sh/chart") -}}
{{- $faults = append $faults (printf "%s: %s is the chart's own; choose another key" $where $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with $faults -}}
{{- fail (printf "\n\n  - %s\n" (join "\n  - " .)) -}}
{{- end -}}
{{- end }}
