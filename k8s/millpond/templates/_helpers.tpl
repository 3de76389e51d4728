{{/* Short enough for the labels that Kubernetes derives from it. */}}
{{- define "millpond.fullname" -}}
{{- default .Release.Name .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{/* The headless Service, through which instances reach each other. */}}
{{- define "millpond.peers" -}}
{{- include "millpond.fullname" . }}-peers
{{- end -}}

{{- define "millpond.peersHost" -}}
{{- include "millpond.peers" . }}.{{ .Release.Namespace }}.svc
{{- end -}}

{{- define "millpond.applicationId" -}}
{{- default (include "millpond.fullname" .) .Values.applicationId -}}
{{- end -}}

{{- define "millpond.serviceAccountName" -}}
{{- $own := ternary (include "millpond.fullname" .) "default" .Values.serviceAccount.create -}}
{{- default $own .Values.serviceAccount.name -}}
{{- end -}}

{{/* What selects the pods: never changes during the life of a release. */}}
{{- define "millpond.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "millpond.labels" -}}
{{ include "millpond.selectorLabels" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* usage: include "millpond.probe" (list "/livez" .Values.probes.liveness) */}}
{{- define "millpond.probe" -}}
httpGet: {path: {{ index . 0 }}, port: http}
{{ toYaml (index . 1) }}
{{- end -}}
