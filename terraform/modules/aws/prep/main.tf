# A validator's host. Nothing can open a connection to it: it dials its sentries, and every answer comes back on what it opened.
# It has no proof of identity to join by: a validator is let in by a person, with a join token of one use (README).

locals {
  tags = merge(var.tags, { "picket:mesh" = var.name })

  install = templatefile("${path.module}/../common/install.sh.tftpl", {
    release  = var.release
    programs = ["picket-prep-agent"]
    packages = { apt = ["nftables", "iproute2"], dnf = ["nftables", "iproute", "tar", "gzip"] }
  })

  user_data = templatefile("${path.module}/templates/user_data.sh.tftpl", { install = local.install, goloop_url = var.goloop_url })
}

resource "aws_security_group" "this" {
  name_prefix = "${var.name}-${var.host_name}-"
  description = "Validator: lets nobody in"
  vpc_id      = var.vpc_id
  tags        = merge(local.tags, { Name = "${var.name}-${var.host_name}" })

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_egress_rule" "this" {
  for_each = var.egress

  security_group_id = aws_security_group.this.id
  description       = each.key
  ip_protocol       = each.value.protocol
  from_port         = each.value.port
  to_port           = each.value.port
  prefix_list_id    = each.value.prefix_list_id
  tags              = local.tags
}

resource "aws_instance" "this" {
  # checkov:skip=CKV_AWS_126:AWS checks an instance every minute without it, and nothing scales by this one's load
  ami                         = var.ami_id
  instance_type               = var.instance_type
  subnet_id                   = var.subnet_id
  vpc_security_group_ids      = [aws_security_group.this.id]
  iam_instance_profile        = aws_iam_instance_profile.this.name
  associate_public_ip_address = false
  ebs_optimized               = true
  disable_api_termination     = var.deletion_protection
  user_data                   = local.user_data
  tags                        = merge(local.tags, { Name = "${var.name}-${var.host_name}" })

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
    instance_metadata_tags      = "disabled"
  }

  maintenance_options {
    auto_recovery = "default"
  }

  root_block_device {
    encrypted             = true
    kms_key_id            = var.kms_key_arn
    volume_size           = var.volume_gib
    volume_type           = "gp3"
    delete_on_termination = !var.deletion_protection
  }

  lifecycle {
    # A validator is never replaced because an image or a script changed: its keys and its chain are on it.
    ignore_changes = [ami, user_data]
  }
}

data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "this" {
  name_prefix        = substr("${var.name}-${var.host_name}-", 0, 38)
  description        = "Validator's host; Session Manager and nothing else"
  assume_role_policy = data.aws_iam_policy_document.assume.json
  tags               = local.tags
}

# The way in: Session Manager, which opens no port, and commands that are sent. What AWS's own policy for it allows beside that, reading
# each parameter of the account, is left out.
resource "aws_iam_role_policy" "sessions" {
  name_prefix = "sessions-"
  role        = aws_iam_role.this.id
  policy      = file("${path.module}/../common/sessions.json")
}

resource "aws_iam_instance_profile" "this" {
  name_prefix = "${var.name}-${var.host_name}-"
  role        = aws_iam_role.this.name
  tags        = local.tags
}

resource "aws_cloudwatch_metric_alarm" "instance" {
  alarm_name          = "${var.name}-${var.host_name}"
  alarm_description   = "The validator's instance fails AWS's own checks"
  namespace           = "AWS/EC2"
  metric_name         = "StatusCheckFailed"
  dimensions          = { InstanceId = aws_instance.this.id }
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 2
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "breaching"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
  tags                = local.tags
}
