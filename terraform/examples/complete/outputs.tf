output "next" {
  description = "What to do now."
  value = join("\n", var.ca_fingerprint != null ? [
    "1. sh -c \"$(terraform output -raw restart_command)\": the controllers read who may join",
    "2. sentries join by themselves: picket nodes",
    ] : [
    "1. aws ssm start-session --region ${var.region} --target ${module.controller.instance_id}",
    "2. there: ${module.controller.fingerprint_command}",
    "3. write it into terraform.tfvars: ca_fingerprint = \"…\"",
    "4. terraform apply",
  ])
}

output "controller_url" {
  description = "Where hosts find the controller."
  value       = module.controller.url
}

output "controller_instance" {
  description = "The controller's instance, the first where there are two, for Session Manager."
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
  description = "What the world is told instead of the validator's address."
  value       = one(module.sentries[*].balancer_name)
}

output "sentry_addresses" {
  description = "Addresses of the sentries' balancer, for others' lists."
  value       = one(module.sentries[*].balancer_addresses)
}

output "validator_join_commands" {
  description = "What to run on the validator's host, with a join token."
  value       = one(module.prep[*].join_commands)
}

output "backup_bucket" {
  description = "Backups of the controller."
  value       = module.controller.backup_bucket
}
