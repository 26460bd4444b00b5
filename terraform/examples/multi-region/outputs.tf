output "controller_instance" {
  description = "The controller's instance: `sudo -u picket picket-controller fingerprint` there gives `ca_fingerprint`."
  value       = module.controller.instance_id
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
  description = "DNS names of the balancers by region."
  value = {
    (var.regions.home) = one(module.sentries_home[*].balancer_name)
    (var.regions.away) = one(module.sentries_away[*].balancer_name)
  }
}
