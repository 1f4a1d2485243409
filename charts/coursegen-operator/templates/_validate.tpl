{{/* A duration of Prometheus', such as 1m30s, in milliseconds; 0 for what is none. */}}
{{- define "coursegen-operator.milliseconds" -}}
{{- $units := dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 "d" 86400000 "w" 604800000 "y" 31536000000 -}}
{{- $total := 0 -}}
{{- if regexMatch "^([0-9]+(ms|[smhdwy]))+$" . -}}
{{- range regexFindAll "[0-9]+(ms|[smhdwy])" . -1 -}}
{{- $total = add $total (mul (regexFind "^[0-9]+" . | int64) (get $units (regexFind "[a-z]+$" .))) -}}
{{- end -}}
{{- end -}}
{{- $total -}}
{{- end }}

{{/* What cannot work is refused with a sentence that says what to set. */}}
{{- define "coursegen-operator.validate" -}}
{{- $faults := list -}}
{{- if and (eq .Values.scope "cluster") .Values.watchNamespaces -}}
{{- $faults = append $faults "watchNamespaces: only with scope: namespaced; with scope: cluster every namespace is looked after" -}}
{{- end -}}
{{- if ge (addf .Values.drainSeconds 3) (float64 .Values.terminationGracePeriodSeconds) -}}
{{- $faults = append $faults "terminationGracePeriodSeconds: must be more than drainSeconds + 3" -}}
{{- end -}}
{{- if and (eq (include "coursegen-operator.election" .) "none") (gt (int .Values.replicaCount) 1) -}}
{{- $faults = append $faults "config.OPERATOR_ELECTION: none is for one operator only; set replicaCount to 1" -}}
{{- end -}}
{{- /* The operator ends with 78 at its start where these do not fit together; an empty one is the default. */ -}}
{{- $timers := dict "SECONDS" 15 "RENEW_SECONDS" 10 "RETRY_SECONDS" 2 -}}
{{- range $timer, $_ := $timers -}}
{{- with index (default dict $.Values.config) (printf "OPERATOR_LEASE_%s" $timer) | toString | trim -}}
{{- if ne . "<nil>" -}}{{- $_ := set $timers $timer . -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- if le (float64 $timers.SECONDS) (float64 $timers.RENEW_SECONDS) -}}
{{- $faults = append $faults (printf "config.OPERATOR_LEASE_SECONDS: %v must be more than OPERATOR_LEASE_RENEW_SECONDS, which is %v" $timers.SECONDS $timers.RENEW_SECONDS) -}}
{{- end -}}
{{- if le (float64 $timers.RENEW_SECONDS) (mulf 1.2 (float64 $timers.RETRY_SECONDS)) -}}
{{- $faults = append $faults (printf "config.OPERATOR_LEASE_RENEW_SECONDS: %v must be more than 1.2 times OPERATOR_LEASE_RETRY_SECONDS, which is %v" $timers.RENEW_SECONDS $timers.RETRY_SECONDS) -}}
{{- end -}}
{{- $probes := fromYaml (include "coursegen-operator.probes" .Values) -}}
{{- if eq (toYaml $probes.livenessProbe) (toYaml $probes.readinessProbe) -}}
{{- $faults = append $faults "probes: liveness and readiness are the same; an API server that is away would restart the pods" -}}
{{- else if eq (dig "httpGet" "path" "" $probes.livenessProbe) "/readyz" -}}
{{- $faults = append $faults "probes.liveness: /readyz asks the API server, and a restart does not bring that back; use /livez" -}}
{{- end -}}
{{- range $key := keys .Values.podLabels | sortAlpha -}}
{{- if hasKey $.Values.commonLabels $key -}}
{{- $faults = append $faults (printf "podLabels: %s is in commonLabels too, and would be there twice; leave it out of one" $key) -}}
{{- end -}}
{{- end -}}
{{- range $where, $labels := dict "commonLabels" .Values.commonLabels "podLabels" .Values.podLabels -}}
{{- range $key, $_ := $labels -}}
{{- if or (hasPrefix "app.kubernetes.io/" $key) (eq $key "helm.sh/chart") -}}
{{- $faults = append $faults (printf "%s: %s is the chart's own; choose another key" $where $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- /* Prometheus takes no monitor whose answer may come later than the next question. Left empty, they are Prometheus' own. */ -}}
{{- range $where := list "podMonitor" -}}
{{- with index $.Values.metrics $where -}}
{{- if .enabled -}}
{{- range $field, $given := dict "interval" .interval "scrapeTimeout" .scrapeTimeout -}}
{{- if and $given (eq (include "coursegen-operator.milliseconds" $given) "0") -}}
{{- $faults = append $faults (printf "metrics.%s.%s: %s is no duration; write 30s, 1m or 1m30s" $where $field $given) -}}
{{- end -}}
{{- end -}}
{{- if and .interval .scrapeTimeout (lt (include "coursegen-operator.milliseconds" .interval | int64) (include "coursegen-operator.milliseconds" .scrapeTimeout | int64)) -}}
{{- $faults = append $faults (printf "metrics.%s.scrapeTimeout: %s is longer than interval, %s, and Prometheus takes no such monitor; make interval at least as long" $where .scrapeTimeout .interval) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with $faults -}}
{{- fail (printf "\n\n  - %s\n" (join "\n  - " .)) -}}
{{- end -}}
{{- end }}
