{{/* Rules of a NetworkPolicy for the ways that a component may go; (list ROOT WAYS) */}}
{{- define "coursegen.egress" -}}
{{- $root := index . 0 -}}
{{- $policy := $root.Values.networkPolicy -}}
{{- $inside := ternary (dict "database" "postgresql" "redis" "redis") dict $root.Values.dev.enabled -}}
{{- $egress := list -}}
{{- range $way := index . 1 -}}
{{- $rule := dict -}}
{{- if eq $way "api" -}}
{{- $rule = dict "to" (list (dict "podSelector" (dict "matchLabels" (fromYaml (include "coursegen.selector" (list $root "api")))))) "ports" (list (dict "port" "http" "protocol" "TCP")) -}}
{{- else -}}
{{- $target := index $policy $way -}}
{{- $ports := list -}}
{{- range $port := default (list $target.port) $target.ports -}}
{{- range ternary (list "UDP" "TCP") (list "TCP") (eq $way "dns") }}{{ $ports = append $ports (dict "port" (int $port) "protocol" .) }}{{ end -}}
{{- end -}}
{{- $rule = dict "ports" $ports -}}
{{- $to := $target.to -}}
{{- with index $inside $way -}}
{{- $to = list (dict "podSelector" (dict "matchLabels" (fromYaml (include "coursegen.selector" (list $root .))))) -}}
{{- end -}}
{{- with $to }}{{ $_ := set $rule "to" . }}{{ end -}}
{{- end -}}
{{- $egress = append $egress $rule -}}
{{- end -}}
{{- toYaml $egress -}}
{{- end }}
