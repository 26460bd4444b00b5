# A network load balancer with addresses that stay: hosts keep the controller's address for good, and validators' own outer walls
# may name it. It passes the agents' TLS through, sources preserved; it ends the clouds' TLS, for which it has the certificate.

resource "aws_eip" "balancer" {
  # checkov:skip=CKV2_AWS_19:it is the load balancer's
  for_each = var.balancer_subnet_ids

  domain = "vpc"
  tags   = merge(local.tags, { Name = "${var.name}-controller-${each.key}" })
}

resource "aws_lb" "this" {
  # checkov:skip=CKV_AWS_91:access logs of a network balancer are of TLS listeners alone; flow logs of the VPC have all of it
  name                             = "${var.name}-controller"
  load_balancer_type               = "network"
  internal                         = false
  security_groups                  = [aws_security_group.balancer.id]
  enable_cross_zone_load_balancing = true
  enable_deletion_protection       = var.deletion_protection
  tags                             = local.tags

  dynamic "subnet_mapping" {
    for_each = var.balancer_subnet_ids

    content {
      subnet_id     = subnet_mapping.value
      allocation_id = aws_eip.balancer[subnet_mapping.key].id
    }
  }
}

resource "aws_lb_target_group" "agents" {
  name                 = "${var.name}-agents"
  port                 = 7443
  protocol             = "TCP"
  vpc_id               = var.vpc_id
  preserve_client_ip   = true
  deregistration_delay = 30
  # Hosts of a controller that is away ask another one at once.
  connection_termination = true
  tags                   = local.tags

  health_check {
    protocol            = "TCP"
    port                = "traffic-port"
    interval            = 10
    healthy_threshold   = 2
    unhealthy_threshold = 3
  }
}

resource "aws_lb_target_group_attachment" "agents" {
  for_each = local.controllers

  target_group_arn = aws_lb_target_group.agents.arn
  target_id        = aws_instance.this[each.key].id
}

moved {
  from = aws_lb_target_group_attachment.agents
  to   = aws_lb_target_group_attachment.agents["first"]
}

resource "aws_lb_listener" "agents" {
  load_balancer_arn = aws_lb.this.arn
  port              = 7443
  protocol          = "TCP"
  # Agents wait in long polls; a flow that the balancer forgot would be noticed only by the next keepalive.
  tcp_idle_timeout_seconds = 3600
  tags                     = local.tags

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.agents.arn
  }
}

resource "aws_lb_target_group" "hooks" {
  count = var.hooks == null ? 0 : 1

  name               = "${var.name}-hooks"
  port               = 7446
  protocol           = "TLS"
  vpc_id             = var.vpc_id
  preserve_client_ip = true
  tags               = local.tags

  health_check {
    protocol = "TCP"
    port     = "traffic-port"
    interval = 10
  }
}

resource "aws_lb_target_group_attachment" "hooks" {
  for_each = var.hooks == null ? {} : local.controllers

  target_group_arn = aws_lb_target_group.hooks[0].arn
  target_id        = aws_instance.this[each.key].id
}

moved {
  from = aws_lb_target_group_attachment.hooks[0]
  to   = aws_lb_target_group_attachment.hooks["first"]
}

resource "aws_lb_listener" "hooks" {
  count = var.hooks == null ? 0 : 1

  load_balancer_arn = aws_lb.this.arn
  port              = 443
  protocol          = "TLS"
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-2-2021-06"
  certificate_arn   = var.hooks.certificate_arn
  tags              = local.tags

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.hooks[0].arn
  }
}

resource "aws_route53_record" "hooks" {
  count = try(var.hooks.zone_id, null) == null ? 0 : 1

  zone_id = var.hooks.zone_id
  name    = var.hooks.host
  type    = "A"

  alias {
    name                   = aws_lb.this.dns_name
    zone_id                = aws_lb.this.zone_id
    evaluate_target_health = false
  }
}
