# The balancer for P2P and RPC. Sources are preserved: each sentry's firewall judges who really comes.

resource "aws_eip" "balancer" {
  # checkov:skip=CKV2_AWS_19:it is the load balancer's
  for_each = var.static_addresses ? var.subnet_ids : {}

  domain = "vpc"
  tags   = merge(local.tags, { Name = "${local.prefix}-${each.key}" })
}

resource "aws_lb" "this" {
  # checkov:skip=CKV_AWS_91:access logs of a network balancer are of TLS listeners alone; flow logs of the VPC have all of it
  name                             = local.prefix
  load_balancer_type               = "network"
  internal                         = false
  security_groups                  = [aws_security_group.balancer.id]
  enable_cross_zone_load_balancing = true
  enable_deletion_protection       = var.deletion_protection
  tags                             = local.tags

  dynamic "subnet_mapping" {
    for_each = var.subnet_ids

    content {
      subnet_id     = subnet_mapping.value
      allocation_id = var.static_addresses ? aws_eip.balancer[subnet_mapping.key].id : null
    }
  }
}

resource "aws_lb_target_group" "this" {
  for_each = var.ports

  # Its port in the name: AWS cannot change a group's port, and the listener needs the new one before the old one goes.
  name                 = "${local.prefix}-${each.value.port}"
  port                 = each.value.port
  protocol             = "TCP"
  vpc_id               = var.vpc_id
  preserve_client_ip   = true
  deregistration_delay = 120
  # A sentry that is not well any more shall not keep peers that think it is.
  connection_termination = true
  tags                   = local.tags

  health_check {
    protocol            = "HTTP"
    path                = "/ready"
    port                = tostring(var.health_port)
    matcher             = "200"
    interval            = 10
    timeout             = 6
    healthy_threshold   = 2
    unhealthy_threshold = 3
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_lb_listener" "this" {
  for_each = var.ports

  load_balancer_arn        = aws_lb.this.arn
  port                     = each.value.port
  protocol                 = "TCP"
  tcp_idle_timeout_seconds = var.idle_seconds
  tags                     = local.tags

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.this[each.key].arn
  }
}
