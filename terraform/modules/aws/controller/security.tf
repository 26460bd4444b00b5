# Outer walls. The instance lets in the balancer alone; operators come by Session Manager, which needs no port.

resource "aws_security_group" "balancer" {
  name_prefix = "${var.name}-controller-lb-"
  description = "Load balancer of the Picket controller"
  vpc_id      = var.vpc_id
  tags        = merge(local.tags, { Name = "${var.name}-controller-lb" })

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "agents" {
  for_each = var.agents_prefix_list_ids

  security_group_id = aws_security_group.balancer.id
  description       = "Hosts of the mesh; certificates on both sides"
  ip_protocol       = "tcp"
  from_port         = 7443
  to_port           = 7443
  prefix_list_id    = each.value
  tags              = local.tags
}

resource "aws_vpc_security_group_ingress_rule" "hooks" {
  for_each = var.hooks == null ? {} : var.hooks.prefix_list_ids

  security_group_id = aws_security_group.balancer.id
  description       = "Hooks of clouds; each message is verified"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  prefix_list_id    = each.value
  tags              = local.tags
}

resource "aws_vpc_security_group_egress_rule" "balancer" {
  for_each = toset(var.hooks == null ? ["7443"] : ["7443", "7446"])

  security_group_id            = aws_security_group.balancer.id
  description                  = "The controller"
  ip_protocol                  = "tcp"
  from_port                    = tonumber(each.value)
  to_port                      = tonumber(each.value)
  referenced_security_group_id = aws_security_group.instance.id
  tags                         = local.tags
}

resource "aws_security_group" "instance" {
  name_prefix = "${var.name}-controller-"
  description = "Picket controller"
  vpc_id      = var.vpc_id
  tags        = merge(local.tags, { Name = "${var.name}-controller" })

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "instance" {
  for_each = toset(var.hooks == null ? ["7443"] : ["7443", "7446"])

  security_group_id            = aws_security_group.instance.id
  description                  = "From the load balancer"
  ip_protocol                  = "tcp"
  from_port                    = tonumber(each.value)
  to_port                      = tonumber(each.value)
  referenced_security_group_id = aws_security_group.balancer.id
  tags                         = local.tags
}

# Sources of the validator list, AWS's services and packages; the lists of validators name any host.
resource "aws_vpc_security_group_egress_rule" "out" {
  for_each = toset(["80", "443"])

  security_group_id = aws_security_group.instance.id
  description       = "Validator lists, AWS services, packages"
  ip_protocol       = "tcp"
  from_port         = tonumber(each.value)
  to_port           = tonumber(each.value)
  cidr_ipv4         = "0.0.0.0/0"
  tags              = local.tags
}

# The controller asks name servers itself; the VPC's own is behind no security group, others are.
resource "aws_vpc_security_group_egress_rule" "names" {
  for_each = toset(["tcp", "udp"])

  security_group_id = aws_security_group.instance.id
  description       = "Name servers"
  ip_protocol       = each.value
  from_port         = 53
  to_port           = 53
  cidr_ipv4         = "0.0.0.0/0"
  tags              = local.tags
}

resource "aws_vpc_security_group_egress_rule" "database" {
  count = var.database == null ? 0 : 1

  security_group_id            = aws_security_group.instance.id
  description                  = "The database"
  ip_protocol                  = "tcp"
  from_port                    = 5432
  to_port                      = 5432
  referenced_security_group_id = aws_security_group.database[0].id
  tags                         = local.tags
}

resource "aws_security_group" "database" {
  count = var.database == null ? 0 : 1

  name_prefix = "${var.name}-database-"
  description = "Database of the Picket controllers; dials nobody"
  vpc_id      = var.vpc_id
  tags        = merge(local.tags, { Name = "${var.name}-database" })

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "database" {
  count = var.database == null ? 0 : 1

  security_group_id            = aws_security_group.database[0].id
  description                  = "The controllers"
  ip_protocol                  = "tcp"
  from_port                    = 5432
  to_port                      = 5432
  referenced_security_group_id = aws_security_group.instance.id
  tags                         = local.tags
}
