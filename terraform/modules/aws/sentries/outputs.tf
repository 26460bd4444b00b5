output "enroll_rule" {
  description = "Whom the controller lets in by proof, for its `enroll`: this group's account, region and image, or its role."
  value = {
    name               = length(local.rule) <= 27 ? local.rule : substr(sha256(local.rule), 0, 27)
    proof              = var.proof
    account            = data.aws_caller_identity.current.account_id
    regions            = var.proof == "aws-document" ? [local.region] : []
    images             = var.proof == "aws-document" ? distinct(concat([var.ami_id], var.former_ami_ids)) : []
    claims             = var.proof == "aws-sts" ? { sub = aws_iam_role.this.arn } : {}
    role               = "sentry"
    names              = "${local.prefix}-*"
    pool               = var.pool
    max_nodes          = var.sizes.max * 2
    launch_age_seconds = var.proof == "aws-document" ? local.join_seconds : null
  }
}

output "group_name" {
  description = "The autoscaling group."
  value       = aws_autoscaling_group.this.name
}

output "group_arn" {
  description = "Its ARN, on which the controller answers hooks."
  value       = aws_autoscaling_group.this.arn
}

output "balancer_name" {
  description = "DNS name of the load balancer: what the world is told instead of the validator's address."
  value       = aws_lb.this.dns_name
}

output "balancer_addresses" {
  description = "Its addresses, where they are static."
  value       = [for address in aws_eip.balancer : address.public_ip]
}

output "balancer_arn" {
  description = "The load balancer, for a shield or an access log of yours."
  value       = aws_lb.this.arn
}

output "role_arn" {
  description = "Role of the instances; nothing is allowed to it beyond its own identity."
  value       = aws_iam_role.this.arn
}

output "security_group_ids" {
  description = "Groups of the balancer and of the instances."
  value       = { balancer = aws_security_group.balancer.id, instance = aws_security_group.instance.id }
}

output "user_data" {
  description = "What instances run at their first boot. No secret."
  value       = local.user_data
}
