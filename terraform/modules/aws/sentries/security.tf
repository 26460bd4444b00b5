# Outer walls, driven by prefix lists. Within them each sentry's own firewall follows the chain.

locals {
  lets_in = merge([for name, port in var.ports : {
    for list, id in port.prefix_list_ids : "${name}/${list}" => { port = port.port, prefix_list_id = id }
  }]...)
}

resource "aws_security_group" "balancer" {
  name_prefix = "${local.prefix}-lb-"
  description = "Load balancer of Picket sentries"
  vpc_id      = var.vpc_id
  tags        = merge(local.tags, { Name = "${local.prefix}-lb" })

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "balancer" {
  for_each = local.lets_in

  security_group_id = aws_security_group.balancer.id
  description       = each.key
  ip_protocol       = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port
  prefix_list_id    = each.value.prefix_list_id
  tags              = local.tags
}

resource "aws_vpc_security_group_egress_rule" "balancer" {
  for_each = merge({ health = var.health_port }, { for name, port in var.ports : name => port.port })

  security_group_id            = aws_security_group.balancer.id
  description                  = "Sentries: ${each.key}"
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
  referenced_security_group_id = aws_security_group.instance.id
  tags                         = local.tags
}

resource "aws_security_group" "instance" {
  name_prefix = "${local.prefix}-"
  description = "Picket sentries"
  vpc_id      = var.vpc_id
  tags        = merge(local.tags, { Name = local.prefix })

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "instance" {
  for_each = merge({ health = var.health_port }, { for name, port in var.ports : name => port.port })

  security_group_id            = aws_security_group.instance.id
  description                  = "From the load balancer: ${each.key}"
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
  referenced_security_group_id = aws_security_group.balancer.id
  tags                         = local.tags
}

resource "aws_vpc_security_group_ingress_rule" "wireguard" {
  for_each = var.wireguard_prefix_list_ids

  security_group_id = aws_security_group.instance.id
  description       = "WireGuard, from validators"
  ip_protocol       = "udp"
  from_port         = 51820
  to_port           = 51820
  prefix_list_id    = each.value
  tags              = local.tags
}

# Peers are anywhere.
resource "aws_vpc_security_group_egress_rule" "out" {
  for_each = toset([for port in var.egress_ports : tostring(port)])

  security_group_id = aws_security_group.instance.id
  description       = "TCP ${each.value} of anybody"
  ip_protocol       = "tcp"
  from_port         = tonumber(each.value)
  to_port           = tonumber(each.value)
  cidr_ipv4         = "0.0.0.0/0"
  tags              = local.tags
}
