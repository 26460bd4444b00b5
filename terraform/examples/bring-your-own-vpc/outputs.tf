output "controller_instance" {
  description = "The controller's instance: `sudo -u picket picket-controller fingerprint` there gives `ca_fingerprint`."
  value       = module.controller.instance_id
}

output "controller_url" {
  description = "Where hosts find the controller."
  value       = module.controller.url
}

output "operators_tunnel" {
  description = "Brings the operators' port to your machine."
  value       = module.controller.operators_tunnel
}

output "restart_command" {
  description = "Has the controller read a changed configuration; cuts nobody."
  value       = module.controller.restart_command
}

output "sentries" {
  description = "DNS name of the sentries' balancer."
  value       = one(module.sentries[*].balancer_name)
}
