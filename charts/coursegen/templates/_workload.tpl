{{/* Pods and Deployments of the processes. */}}

{{/* Seconds that a process waits for its schema: as long as migrations may take, within what the processes accept; ROOT. */}}
{{- define "coursegen.startWait" -}}
{{- min (int .Values.migrations.activeDeadlineSeconds) 86400 -}}
{{- end }}

{{/* Settings of a process as a map; (list ROOT PROCESS-CONFIG EXTRA [MAPS-BEFORE-IT]). At its start it waits as long as migrations may
     take. */}}
{{- define "coursegen.settings" -}}
{{- $root := index . 0 -}}
{{- $settings := dict "LOG_FORMAT" "json" "START_WAIT_SECONDS" (include "coursegen.startWait" $root) -}}
{{- $before := list -}}{{- if gt (len .) 3 }}{{ $before = index . 3 }}{{ end -}}
{{- range $each := concat (list $root.Values.config.common) $before (list (index . 1) (index . 2)) -}}
{{- range $name, $value := $each -}}
{{- if not (kindIs "invalid" $value) -}}{{- $_ := set $settings $name (include "coursegen.text" $value) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $settings -}}
{{- end }}

{{/* The three probes of a process, with the values' own fields; VALUES. Startup is patient, liveness asks the process only,
     readiness asks for database and queue. */}}
{{- define "coursegen.probes" -}}
{{- $startup := dict "httpGet" (dict "path" "/livez" "port" "metrics") "periodSeconds" 2 "timeoutSeconds" 3 "failureThreshold" 90 -}}
{{- $liveness := dict "httpGet" (dict "path" "/livez" "port" "metrics") "periodSeconds" 10 "timeoutSeconds" 5 "failureThreshold" 6 -}}
{{- $readiness := dict "httpGet" (dict "path" "/readyz" "port" "metrics") "periodSeconds" 3 "timeoutSeconds" 4 "failureThreshold" 3 -}}
startupProbe:
  {{- toYaml (mergeOverwrite $startup (deepCopy .probes.startup)) | nindent 2 }}
livenessProbe:
  {{- toYaml (mergeOverwrite $liveness (deepCopy .probes.liveness)) | nindent 2 }}
readinessProbe:
  {{- toYaml (mergeOverwrite $readiness (deepCopy .probes.readiness)) | nindent 2 }}
{{- end }}

{{/* Secrets that images are pulled with; nothing when there are none. */}}
{{- define "coursegen.pullSecrets" -}}
{{- with .Values.imagePullSecrets -}}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end -}}
{{- end }}

{{/* Fields that every pod has; (list ROOT COMPONENT VALUES) */}}
{{- define "coursegen.podFields" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $values := index . 2 -}}
serviceAccountName: {{ include "coursegen.serviceAccount" (list $root (index . 3) $values) }}
automountServiceAccountToken: {{ index . 4 }}
enableServiceLinks: false
securityContext:
  {{- toYaml $root.Values.podSecurityContext | nindent 2 }}
{{- with include "coursegen.pullSecrets" $root }}
{{ . }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* A Deployment with its ConfigMap. A dict: root, component, process, values, settings (YAML), secrets (YAML of variables), account (component
     of the service account), token (bool), scaled (bool), alone (bool: never two pods at once), ports (YAML, beside metrics). */}}
{{- define "coursegen.deployment" -}}
{{- $root := .root -}}
{{- $values := .values -}}
{{- $name := printf "%s-%s" (include "coursegen.fullname" $root) .component -}}
apiVersion: v1
kind: ConfigMap
metadata:
  {{- include "coursegen.metadata" (list $root .component $name) | nindent 2 }}
data:
  {{- range $key, $value := fromYaml .settings }}
  {{ $key }}: {{ $value | quote }}
  {{- end }}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "coursegen.metadata" (list $root .component $name $values.annotations (include "coursegen.migrationsLabel" $root)) | nindent 2 }}
spec:
  {{- if not .scaled }}
  replicas: {{ int $values.replicaCount }}
  {{- end }}
  revisionHistoryLimit: {{ int $root.Values.revisionHistoryLimit }}
  # Pods that wait for a migration make no progress that Kubernetes sees; they have its usual ten minutes after that.
  progressDeadlineSeconds: {{ include "coursegen.startWait" $root | int | add 600 }}
  strategy:
    {{- if .alone }}
    type: Recreate
    {{- else }}
    type: RollingUpdate
    rollingUpdate: {maxSurge: 1, maxUnavailable: 0}
    {{- end }}
  selector:
    matchLabels:
      {{- include "coursegen.selector" (list $root .component) | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "coursegen.labels" (list $root .component) | nindent 8 }}
        {{- with include "coursegen.migrationsLabel" $root }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- with $values.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      annotations:
        checksum/config: {{ .settings | sha256sum }}
        checksum/secret: {{ include "coursegen.inlineSecrets" $root | sha256sum }}
        {{- with $values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      {{- include "coursegen.podFields" (list $root .component $values .account .token) | nindent 6 }}
      terminationGracePeriodSeconds: {{ int $values.terminationGracePeriodSeconds }}
      topologySpreadConstraints:
        {{- if $values.topologySpreadConstraints }}
        {{- toYaml $values.topologySpreadConstraints | nindent 8 }}
        {{- else }}
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- include "coursegen.selector" (list $root .component) | nindent 14 }}
          # Pods of an upgrade are spread among themselves: those that leave do not count.
          matchLabelKeys: [pod-template-hash]
        {{- end }}
      containers:
        - name: {{ .process }}
          image: {{ include "coursegen.image" (list $root .process $values.image) }}
          imagePullPolicy: {{ default $root.Values.image.pullPolicy $values.image.pullPolicy }}
          securityContext:
            {{- toYaml $root.Values.securityContext | nindent 12 }}
          ports:
            {{- with .ports }}
            {{- . | nindent 12 }}
            {{- end }}
            - {name: metrics, containerPort: 9090}
          envFrom:
            - configMapRef: {name: {{ $name }}}
            {{- with $values.extraEnvFrom }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          env:
            {{- .secrets | trim | nindent 12 }}
            {{- with $values.extraEnv }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          {{- include "coursegen.probes" $values | nindent 10 }}
          {{- if gt (int $values.preStopSeconds) 0 }}
          lifecycle:
            preStop:
              sleep: {seconds: {{ int $values.preStopSeconds }}}
          {{- end }}
          resources:
            {{- toYaml $values.resources | nindent 12 }}
          volumeMounts:
            - {name: tmp, mountPath: /tmp}
            {{- with $values.extraVolumeMounts }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
        {{- with $values.extraContainers }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      volumes:
        - name: tmp
          emptyDir: {sizeLimit: {{ $values.tmpSize }}}
        {{- with $values.extraVolumes }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
{{- end }}

{{/* The greatest number of pods; VALUES */}}
{{- define "coursegen.most" -}}
{{- $scaler := dict -}}
{{- range $each := list .autoscaling .keda -}}{{- if $each -}}{{- if $each.enabled -}}{{- $scaler = $each -}}{{- end -}}{{- end -}}{{- end -}}
{{- default .replicaCount $scaler.maxReplicas -}}
{{- end }}

{{/* A PodDisruptionBudget where more than one pod may run. A dict: root, component, values. */}}
{{- define "coursegen.pdb" -}}
{{- if and .values.pdb.enabled (gt (int (include "coursegen.most" .values)) 1) }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "coursegen.metadata" (list .root .component (printf "%s-%s" (include "coursegen.fullname" .root) .component)) | nindent 2 }}
spec:
  maxUnavailable: {{ .values.pdb.maxUnavailable }}
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "coursegen.selector" (list .root .component) | nindent 6 }}
{{- end }}
{{- end }}

{{/* A HorizontalPodAutoscaler. A dict: root, component, process, values. Only the process's own container counts: one without a request,
     from extraContainers, would leave the pod's use unknown. */}}
{{- define "coursegen.hpa" -}}
{{- if .values.autoscaling.enabled }}
{{- $name := printf "%s-%s" (include "coursegen.fullname" .root) .component }}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  {{- include "coursegen.metadata" (list .root .component $name) | nindent 2 }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ $name }}}
  minReplicas: {{ int .values.autoscaling.minReplicas }}
  maxReplicas: {{ int .values.autoscaling.maxReplicas }}
  {{- with .values.autoscaling.behavior }}
  behavior:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  metrics:
    - type: ContainerResource
      containerResource:
        name: cpu
        container: {{ .process }}
        target: {type: Utilization, averageUtilization: {{ int .values.autoscaling.targetCPUUtilizationPercentage }}}
{{- end }}
{{- end }}

{{/* What a ScaledObject says beside its triggers; (list DEPLOYMENT KEDA-VALUES) */}}
{{- define "coursegen.scaling" -}}
{{- $keda := index . 1 -}}
scaleTargetRef: {name: {{ index . 0 }}}
minReplicaCount: {{ int $keda.minReplicas }}
maxReplicaCount: {{ int $keda.maxReplicas }}
fallback: {failureThreshold: 3, replicas: {{ int $keda.minReplicas }}, behavior: currentReplicasIfHigher}
{{- with $keda.behavior }}
advanced:
  horizontalPodAutoscalerConfig:
    behavior:
      {{- toYaml . | nindent 6 }}
{{- end }}
{{- end }}
