{{- define "picket.name" -}}
{{- printf "%s-%s" .Release.Name "controller" | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "picket.labels" -}}
app.kubernetes.io/name: picket
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "picket.controller.selector" -}}
app.kubernetes.io/name: picket
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: controller
{{- end -}}

{{- /* An image by its name: with a tag, or with the digest that stands in the tag's place. */ -}}
{{- define "picket.image" -}}
{{- $tag := default .root.Chart.AppVersion .root.Values.image.tag -}}
{{- printf "%s/%s%s%s" .root.Values.image.registry .name (ternary "@" ":" (hasPrefix "sha256:" $tag)) $tag -}}
{{- end -}}

{{- /* What every container is kept from. */ -}}
{{- define "picket.confined" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
seccompProfile: {type: RuntimeDefault}
{{- end -}}
