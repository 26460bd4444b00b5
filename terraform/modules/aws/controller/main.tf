# The controllers: one instance on SQLite, or several on a PostgreSQL database (database.tf). Each has its state on a volume of its
# own. While all of them are away every firewall and tunnel stays as it is, and only changes wait.

data "aws_region" "current" {}
data "aws_caller_identity" "current" {}

data "aws_subnet" "this" {
  for_each = local.controllers

  id = each.value
}

locals {
  # The first makes the mesh's CA; the others are given it.
  controllers = merge({ first = var.subnet_id }, var.further_subnet_ids)
  tags        = merge(var.tags, { "picket:mesh" = var.name })
  region      = data.aws_region.current.name
}

resource "aws_instance" "this" {
  for_each = local.controllers

  # checkov:skip=CKV_AWS_126:AWS checks an instance every minute without it, and nothing scales by this one's load
  ami                         = var.ami_id
  instance_type               = var.instance_type
  subnet_id                   = each.value
  vpc_security_group_ids      = [aws_security_group.instance.id]
  iam_instance_profile        = aws_iam_instance_profile.this.name
  associate_public_ip_address = false
  ebs_optimized               = true
  disable_api_termination     = var.deletion_protection
  user_data                   = local.user_data[each.key]
  # A changed script is of use to a new instance alone; state and identity are on the volume.
  user_data_replace_on_change = true
  tags                        = merge(local.tags, { Name = each.key == "first" ? "${var.name}-controller" : "${var.name}-controller-${each.key}" })

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
    instance_metadata_tags      = "disabled"
  }

  # The volume stays attached, and so does the address: the hardware below is replaced, not the controller.
  maintenance_options {
    auto_recovery = "default"
  }

  root_block_device {
    encrypted   = true
    kms_key_id  = var.kms_key_arn
    volume_type = "gp3"
    volume_size = 20
  }
}

# Database and CA. It outlives the instance, and a destroy leaves a snapshot: who loses it enrols every host anew.
resource "aws_ebs_volume" "state" {
  for_each = local.controllers

  availability_zone = data.aws_subnet.this[each.key].availability_zone
  size              = var.volume_gib
  type              = "gp3"
  encrypted         = true
  kms_key_id        = var.kms_key_arn
  final_snapshot    = var.deletion_protection
  tags              = merge(local.tags, { Name = each.key == "first" ? "${var.name}-controller-state" : "${var.name}-controller-${each.key}-state" })
}

resource "aws_volume_attachment" "state" {
  for_each = local.controllers

  device_name = "/dev/sdf"
  volume_id   = aws_ebs_volume.state[each.key].id
  instance_id = aws_instance.this[each.key].id
  # A database that loses its disk under way is a torn one.
  stop_instance_before_detaching = true
}

# Of before there could be several.
moved {
  from = aws_instance.this
  to   = aws_instance.this["first"]
}

moved {
  from = aws_ebs_volume.state
  to   = aws_ebs_volume.state["first"]
}

moved {
  from = aws_volume_attachment.state
  to   = aws_volume_attachment.state["first"]
}
