{{/* A duration of Prometheus', such as 1m30s, in milliseconds; 0 for what is none. */}}
{{- define "coursegen.milliseconds" -}}
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
{{- define "coursegen.validate" -}}
{{- $faults := list -}}
{{- if not .Values.dev.enabled -}}
{{- if not (or .Values.database.existingSecret .Values.database.url) -}}
{{- $faults = append $faults "database.existingSecret: name the Secret with the address of PostgreSQL (or set dev.enabled to try coursegen out)" -}}
{{- end -}}
{{- if not (or .Values.database.migrations.existingSecret .Values.database.migrations.url) -}}
{{- $faults = append $faults "database.migrations.existingSecret: name the Secret with the address of PostgreSQL for its owner" -}}
{{- end -}}
{{- if not (or .Values.redis.existingSecret .Values.redis.url) -}}
{{- $faults = append $faults "redis.existingSecret: name the Secret with the address of Redis" -}}
{{- end -}}
{{- if not (or .Values.auth.jwtSecret.existingSecret .Values.auth.jwtSecret.value .Values.config.api.JWT_JWKS_URL .Values.config.api.JWT_JWKS_FILE) -}}
{{- $faults = append $faults "auth.jwtSecret.existingSecret: name the Secret of the tokens' secret, or set config.api.JWT_JWKS_URL" -}}
{{- end -}}
{{- end -}}
{{- if not (regexMatch "^[a-z]" (include "coursegen.fullname" .)) -}}
{{- $faults = append $faults (printf "fullnameOverride: names of Services begin with a letter, and %s does not" (include "coursegen.fullname" .)) -}}
{{- end -}}
{{- if and (eq .Values.leaderElection.mode "none") (gt (int .Values.outboxRelay.replicaCount) 1) -}}
{{- $faults = append $faults "leaderElection.mode: none is for one relay only; set outboxRelay.replicaCount to 1" -}}
{{- end -}}
{{- /* A relay, whatever leaderElection.mode, ends with 78 at its start where these do not fit together; an empty one is the default. */ -}}
{{- $timers := dict "SECONDS" 15 "RENEW_SECONDS" 10 "RETRY_SECONDS" 2 -}}
{{- range $timer, $_ := $timers -}}
{{- with index (default dict $.Values.config.relay) (printf "RELAY_LEASE_%s" $timer) | toString | trim -}}
{{- if ne . "<nil>" -}}{{- $_ := set $timers $timer . -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- if le (float64 $timers.SECONDS) (float64 $timers.RENEW_SECONDS) -}}
{{- $faults = append $faults (printf "config.relay.RELAY_LEASE_SECONDS: %v must be more than RELAY_LEASE_RENEW_SECONDS, which is %v" $timers.SECONDS $timers.RENEW_SECONDS) -}}
{{- end -}}
{{- if le (float64 $timers.RENEW_SECONDS) (mulf 1.2 (float64 $timers.RETRY_SECONDS)) -}}
{{- $faults = append $faults (printf "config.relay.RELAY_LEASE_RENEW_SECONDS: %v must be more than 1.2 times RELAY_LEASE_RETRY_SECONDS, which is %v" $timers.RENEW_SECONDS $timers.RETRY_SECONDS) -}}
{{- end -}}
{{- $workloads := dict "api" .Values.api "outboxRelay" .Values.outboxRelay "persistenceWorker" .Values.persistenceWorker -}}
{{- range $queue, $own := .Values.stageWorker.queues -}}
{{- if not (kindIs "invalid" $own) -}}
{{- $_ := set $workloads (printf "stageWorker.queues.%s" $queue) (mergeOverwrite (omit (deepCopy $.Values.stageWorker) "queues") (deepCopy $own)) -}}
{{- end -}}
{{- end -}}
{{- range $where, $each := $workloads -}}
{{- if ge (addf $each.preStopSeconds $each.drainSeconds 3) (float64 $each.terminationGracePeriodSeconds) -}}
{{- $faults = append $faults (printf "%s.terminationGracePeriodSeconds: must be more than preStopSeconds + drainSeconds + 3" $where) -}}
{{- end -}}
{{- $probes := fromYaml (include "coursegen.probes" $each) -}}
{{- if eq (toYaml $probes.livenessProbe) (toYaml $probes.readinessProbe) -}}
{{- $faults = append $faults (printf "%s.probes: liveness and readiness are the same; a database that is away would restart the pods" $where) -}}
{{- else if eq (dig "httpGet" "path" "" $probes.livenessProbe) "/readyz" -}}
{{- $faults = append $faults (printf "%s.probes.liveness: /readyz asks the database, and a restart does not bring that back; use /livez" $where) -}}
{{- end -}}
{{- range $scaler := list "autoscaling" "keda" -}}
{{- with index $each $scaler -}}
{{- if and .enabled (lt (int .maxReplicas) (int .minReplicas)) -}}
{{- $faults = append $faults (printf "%s.%s.maxReplicas: must be at least minReplicas" $where $scaler) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with $each.keda -}}
{{- if and .enabled (not .redisAddress) -}}
{{- $faults = append $faults (printf "%s.keda.redisAddress: name the host:port of Redis" $where) -}}
{{- end -}}
{{- end -}}
{{- if and $each.autoscaling $each.keda -}}
{{- if and $each.autoscaling.enabled $each.keda.enabled -}}
{{- $faults = append $faults (printf "%s: autoscaling and keda cannot both be enabled" $where) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $percent := .Values.config.api.MESSAGES_STREAM_PERCENT -}}
{{- if and (not .Values.persistenceWorker.enabled) (eq (toString .Values.config.api.MESSAGES_DURABILITY) "redis") (ne (include "coursegen.text" $percent) "0") -}}
{{- $faults = append $faults "config.api.MESSAGES_DURABILITY: redis leaves messages in a stream that nobody empties; set persistenceWorker.enabled, or leave it out (postgres), or set config.api.MESSAGES_STREAM_PERCENT to 0" -}}
{{- end -}}
{{- if and .Values.metrics.podMonitor.enabled .Values.metrics.serviceMonitor.enabled -}}
{{- $faults = append $faults "metrics: podMonitor and serviceMonitor would both read the same pods; enable one" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) -}}
{{- $faults = append $faults "ingress.hosts: name the hosts whose requests go to the api; without one an Ingress sends nobody there" -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
{{- $faults = append $faults "httpRoute.parentRefs: name the Gateway that lets requests in, such as {name: public, namespace: gateways}" -}}
{{- end -}}
{{- /* What a cluster has is known only where Helm has asked one: else APIVersions has groups, and no kinds. A chart around this one may bring
the kinds by itself, so that only the chart which is installed is judged; and whoever renders all charts before applying any knows better. */ -}}
{{- $known := .Capabilities.APIVersions -}}
{{- if and (eq .Values.migrations.mode "operator") .Values.migrations.requireKinds .Chart.IsRoot ($known.Has "apps/v1/Deployment") (not ($known.Has "ops.coursegen.dev/v1alpha1/DatabaseMigration")) -}}
{{- $faults = append $faults "migrations.mode: operator needs the operator, and this cluster has none of its kinds; install it first, once per cluster (helm upgrade --install coursegen-operator charts/coursegen-operator --namespace coursegen-system --create-namespace --wait), or set migrations.mode to job, which needs none, or migrations.requireKinds to false, where both charts are rendered before either is applied" -}}
{{- end -}}
{{- if eq .Values.migrations.mode "operator" -}}
{{- /* What a DatabaseMigration has no field for. Of backoffLimit, 6 is the default: the operator tries again by itself. */ -}}
{{- range $each := list "extraEnv" "extraEnvFrom" "extraVolumes" "extraVolumeMounts" "podAnnotations" "affinity" "priorityClassName" "runtimeClassName" -}}
{{- if index $.Values.migrations $each -}}
{{- $faults = append $faults (printf "migrations.%s: only with migrations.mode: job" $each) -}}
{{- end -}}
{{- end -}}
{{- if ne (int .Values.migrations.backoffLimit) 6 -}}
{{- $faults = append $faults "migrations.backoffLimit: only with migrations.mode: job; the operator's tries are migrations.resource.spec.retry" -}}
{{- end -}}
{{- range $each, $value := omit .Values.config.migrate "MIGRATE_LOCK_SECONDS" "MIGRATE_STATEMENT_SECONDS" -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $faults = append $faults (printf "config.migrate.%s: only with migrations.mode: job" $each) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $labels := dict "commonLabels" .Values.commonLabels -}}
{{- range $part := list "api" "outboxRelay" "stageWorker" "persistenceWorker" "migrations" -}}
{{- $_ := set $labels (printf "%s.podLabels" $part) (index $.Values $part).podLabels -}}
{{- end -}}
{{- range $queue, $own := .Values.stageWorker.queues -}}
{{- with $own -}}{{- with .podLabels -}}{{- $_ := set $labels (printf "stageWorker.queues.%s.podLabels" $queue) . -}}{{- end -}}{{- end -}}
{{- end -}}
{{- range $where, $each := $labels -}}
{{- range $key := keys $each | sortAlpha -}}
{{- if regexMatch "^(app\\.kubernetes\\.io/(name|instance|component|part-of|managed-by|version)|helm\\.sh/chart|ops\\.coursegen\\.dev/migrations)$" $key -}}
{{- $faults = append $faults (printf "%s: %s is a label of the chart's own, which would be there twice; take another name" $where $key) -}}
{{- else if and (ne $where "commonLabels") (hasKey $.Values.commonLabels $key) -}}
{{- $faults = append $faults (printf "%s: %s is in commonLabels too, and would be there twice; leave it out of one" $where $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- /* Prometheus takes no monitor whose answer may come later than the next question. Left empty, they are Prometheus' own. */ -}}
{{- range $where := list "podMonitor" "serviceMonitor" -}}
{{- with index $.Values.metrics $where -}}
{{- if .enabled -}}
{{- range $field, $given := dict "interval" .interval "scrapeTimeout" .scrapeTimeout -}}
{{- if and $given (eq (include "coursegen.milliseconds" $given) "0") -}}
{{- $faults = append $faults (printf "metrics.%s.%s: %s is no duration; write 30s, 1m or 1m30s" $where $field $given) -}}
{{- end -}}
{{- end -}}
{{- if and .interval .scrapeTimeout (lt (include "coursegen.milliseconds" .interval | int64) (include "coursegen.milliseconds" .scrapeTimeout | int64)) -}}
{{- $faults = append $faults (printf "metrics.%s.scrapeTimeout: %s is longer than interval, %s, and Prometheus takes no such monitor; make interval at least as long" $where .scrapeTimeout .interval) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with $faults -}}
{{- fail (printf "\n\n  - %s\n" (join "\n  - " .)) -}}
{{- end -}}
{{- end }}
