output "url" {
  description = "Where hosts find the controller: `--controller`. It stays when the instance is replaced."
  value       = "https://${aws_lb.this.dns_name}:7443"
}

output "addresses" {
  description = "Its public addresses, for others' outer walls."
  value       = [for address in aws_eip.balancer : address.public_ip]
}

output "instance_id" {
  description = "The instance, the first where there are several: `aws ssm start-session --target …`."
  value       = aws_instance.this["first"].id
}

output "instance_ids" {
  description = "All controllers' instances, by name."
  value       = { for name, instance in aws_instance.this : name => instance.id }
}

output "database_endpoint" {
  description = "The PostgreSQL database, HOST:PORT; null with SQLite."
  value       = one(aws_db_instance.this[*].endpoint)
}

output "fingerprint_command" {
  description = "Prints the fingerprint of the mesh's CA, which sentries are given. Run it in a session on the instance."
  value       = "sudo -u picket picket-controller fingerprint"
}

output "operators_tunnel" {
  description = "Brings the operators' port to your machine, for `picket`. Beside it, `sudo -u picket picket-controller add-operator --role admin` on the instance makes your file."
  value       = "aws ssm start-session --region ${local.region} --target ${aws_instance.this["first"].id} --document-name AWS-StartPortForwardingSession --parameters portNumber=7444,localPortNumber=7444"
}

output "restart_command" {
  description = "Has the controllers read a changed configuration, one after the other; cuts nobody."
  value       = "aws ssm send-command --region ${local.region} --instance-ids ${join(" ", [for instance in aws_instance.this : instance.id])} --max-concurrency 1 --document-name AWS-RunShellScript --parameters 'commands=[\"systemctl restart picket-controller\"]'"
}

output "hook_url" {
  description = "Where clouds send their messages; null without hooks."
  value       = var.hooks == null ? null : "https://${var.hooks.host}/v1/hooks/aws"
}

output "hook_secret" {
  description = "What EventBridge must show, for the lifecycle modules; null without hooks."
  value       = var.hooks == null ? null : aws_secretsmanager_secret_version.hooks[0].secret_string
  sensitive   = true
}

output "configuration" {
  description = "The controller's configuration as written."
  value       = local.configuration
}

output "configuration_parameter" {
  description = "SSM parameter that holds it."
  value       = aws_ssm_parameter.configuration.name
}

output "backup_bucket" {
  description = "Bucket of the backups; null without backups."
  value       = one(aws_s3_bucket.backups[*].bucket)
}

output "balancer_arn" {
  description = "The load balancer."
  value       = aws_lb.this.arn
}

output "role_name" {
  description = "Role of the instances, for a policy of yours, such as the records of `[dns]` in Route 53."
  value       = aws_iam_role.this.name
}

output "security_group_ids" {
  description = "Groups of the balancer and of the instance."
  value       = { balancer = aws_security_group.balancer.id, instance = aws_security_group.instance.id }
}
