# What the instance may do: read its own configuration and secrets, write backups and one metric, and answer hooks of its groups.

data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "this" {
  statement {
    sid       = "Configuration"
    actions   = ["ssm:GetParameter"]
    resources = concat([aws_ssm_parameter.configuration.arn], [for parameter in aws_ssm_parameter.certificate : parameter.arn])
  }

  statement {
    sid     = "Secrets"
    actions = ["secretsmanager:GetSecretValue"]
    resources = concat(
      [aws_secretsmanager_secret.ca.arn],
      aws_secretsmanager_secret.hooks[*].arn,
      aws_secretsmanager_secret.authority[*].arn,
      aws_db_instance.this[*].master_user_secret[0].secret_arn,
    )
  }

  # Once, at the first start of the first.
  statement {
    sid       = "Passphrase"
    actions   = ["secretsmanager:PutSecretValue"]
    resources = concat([aws_secretsmanager_secret.ca.arn], aws_secretsmanager_secret.authority[*].arn)
  }

  # CloudWatch knows no metrics to name, only their namespace.
  statement {
    sid       = "Metric"
    actions   = ["cloudwatch:PutMetricData"]
    resources = ["*"]

    condition {
      test     = "StringEquals"
      variable = "cloudwatch:namespace"
      values   = ["Picket"]
    }
  }

  dynamic "statement" {
    for_each = aws_s3_bucket.backups[*].arn

    content {
      sid       = "Backups"
      actions   = ["s3:PutObject"]
      resources = ["${statement.value}/controller/*"]
    }
  }

  dynamic "statement" {
    for_each = try(length(var.hooks.autoscaling_arns), 0) > 0 ? [var.hooks.autoscaling_arns] : []

    content {
      sid       = "AnswerHooks"
      actions   = ["autoscaling:CompleteLifecycleAction", "autoscaling:RecordLifecycleActionHeartbeat"]
      resources = statement.value
    }
  }

  dynamic "statement" {
    for_each = var.kms_key_arn == null ? [] : [var.kms_key_arn]

    content {
      sid       = "Key"
      actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
      resources = [statement.value]
    }
  }
}

resource "aws_iam_role" "this" {
  name_prefix        = "${var.name}-controller-"
  description        = "Picket controller"
  assume_role_policy = data.aws_iam_policy_document.assume.json
  tags               = local.tags
}

resource "aws_iam_role_policy" "this" {
  role   = aws_iam_role.this.id
  policy = data.aws_iam_policy_document.this.json
}

# The way in: Session Manager, which opens no port, and commands that are sent. What AWS's own policy for it allows beside that, reading
# each parameter of the account, is left out.
resource "aws_iam_role_policy" "sessions" {
  name_prefix = "sessions-"
  role        = aws_iam_role.this.id
  policy      = file("${path.module}/../common/sessions.json")
}

resource "aws_iam_instance_profile" "this" {
  name_prefix = "${var.name}-controller-"
  role        = aws_iam_role.this.name
  tags        = local.tags
}
